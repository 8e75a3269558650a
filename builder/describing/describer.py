"""Writes of each artifact that is built what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.describing.wheel_facts import WheelFacts, read_wheel_facts
from manifests.companions import sbom_path, statement_path
from manifests.documents import Sha256, sha256_file
from manifests.errors import StoreUnavailable

if TYPE_CHECKING:
    from builder.describing.provenance import BuildRun
    from builder.pipeline import ServiceBuild
    from manifests.artifact import Artifact


@dataclass(kw_only=True)
class Describer:
    """Describes the artifacts of one *run*. *locks* are by service and target, *options* the builder's."""

    run: BuildRun
    locks: Mapping[tuple[str, str], Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    _facts: dict[Sha256, WheelFacts] = field(default_factory=dict)

    def paths(self, artifact: Artifact) -> tuple[str, ...]:
        """Return where the documents of *artifact* lie in a build."""
        return sbom_path(artifact), statement_path(artifact)

    def describe(self, build: ServiceBuild, artifact: Artifact) -> dict[str, bytes]:
        """Return the documents of *artifact*, by path.

        Raises VerificationFailed where a wheel is no longer what the artifact was made of, and
        StoreUnavailable where it cannot be read.
        """
        from builder.describing.provenance import statement
        from builder.describing.sbom import Material, sbom_document

        layers = [layer for layer in artifact.layers if layer.wheel]
        materials = [
            Material(layer=layer, facts=self._facts_of(wheel.path, wheel.sha256))
            for layer, wheel in zip(layers, build.wheels, strict=True)
        ]
        lock = self.locks[build.service.name, str(build.target)]
        try:
            digest = sha256_file(lock)
        except OSError as error:
            raise StoreUnavailable(f"{lock} cannot be read: {error.strerror}") from error
        return {
            sbom_path(artifact): sbom_document(artifact, materials, build.service.requirements),
            statement_path(artifact): statement(self.run, build, artifact, (lock.name, digest), self.options),
        }

    def _facts_of(self, wheel: Path, sha256: Sha256) -> WheelFacts:
        """Services share most wheels: each is read once."""
        if sha256 not in self._facts:
            self._facts[sha256] = read_wheel_facts(wheel, sha256)
        return self._facts[sha256]
