"""A release spec and its locks become artifacts: resolve wheels, build layers, assemble.

Each step is a pure function of its inputs, so every step can be skipped where its result is at hand:
wheels by digest, layers by key, artifacts by identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from builder.assemble import (
    Assembled,
    DamagedLayer,
    Part,
    assemble,
    end_of_archive,
    table_of_contents,
)
from builder.conflicts import find_overlaps
from builder.describing.describer import Describer
from builder.entry_points import split_entry_points
from builder.execution.crew import Crew, build_layers
from builder.execution.local import LocalCrew
from builder.layers.cache import LayerCache
from builder.layers.compression import Compression
from builder.layers.elf import elf_notes, merge_needs
from builder.layers.layer import LAYER_FORMAT, LayerRecord, LayerRequest
from builder.layers.skeleton import build_skeleton, skeleton_key
from builder.output import already_built, built_manifest_path, write_documents
from builder.wheels.gathering import ResolvedWheel
from manifests.artifact import Artifact, MutablePath
from manifests.documents import Sha256, digest_of
from manifests.errors import StoreUnavailable
from manifests.interpreter import Interpreter
from manifests.release_spec import ServiceSpec
from manifests.target import Target


class BuildProgress(Protocol):
    """What a build reports while it works."""

    def layers(self, done: int, total: int, name: str) -> None:
        """*done* of *total* missing layers are built; *name* was the last."""

    def artifact(self, built: BuiltArtifact) -> None:
        """Take note of a complete artifact."""


@dataclass(frozen=True, kw_only=True)
class ServiceBuild:
    """One artifact to build: a service, a target, and the wheels that its lock means there.

    *interpreter* compiles the ``.pyc``; without one the artifact carries none.
    """

    service: ServiceSpec
    target: Target
    version: str
    wheels: tuple[ResolvedWheel, ...]
    interpreter: Interpreter | None


@dataclass(frozen=True, kw_only=True)
class BuiltArtifact:
    """An artifact on disk. ``unchanged`` says that it was there already, with these very inputs.

    ``unpinned`` names wheels that the lock knows only as sources: their digests stand in the manifest
    alone. ``notes`` are what an operator may want to know.
    """

    artifact: Artifact
    tarball: Path
    manifest: Path
    unchanged: bool
    unpinned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class ArtifactBuilder:
    """Builds artifacts into *output* (laid out like a store), with layers cached in *cache_root*.

    Layers are built by *crew*; where there is none, by *jobs* processes of this machine. A *describer* says
    what stands beside each artifact; without one there is the manifest alone.
    """

    cache_root: Path
    output: Path
    compression: Compression = field(default_factory=Compression)
    jobs: int = 1
    crew: Crew | None = None
    describer: Describer | None = None

    def build(self, builds: Sequence[ServiceBuild], progress: BuildProgress) -> list[BuiltArtifact]:
        """Build all of *builds*; layers that several share are built once."""
        cache = LayerCache(self.cache_root)
        requests = {build_key(build): self._requests(build) for build in builds}
        records = self._layers([r for group in requests.values() for r in group], cache, progress)
        results = []
        for build in builds:
            group = requests[build_key(build)]
            built = self._assemble(build, group, records, cache)
            results.append(built)
            progress.artifact(built)
        return results

    @property
    def _crew(self) -> Crew:
        return self.crew or LocalCrew(jobs=self.jobs)

    def _requests(self, build: ServiceBuild) -> list[LayerRequest]:
        interpreter = build.interpreter
        return [
            LayerRequest(
                distribution=wheel.name,
                version=wheel.version,
                wheel=wheel.path,
                wheel_sha256=wheel.sha256,
                target=build.target,
                interpreter=interpreter.executable if interpreter else None,
                interpreter_version=interpreter.version if interpreter else None,
                compression=self.compression,
            )
            for wheel in build.wheels
        ]

    def _layers(
        self, requests: Sequence[LayerRequest], cache: LayerCache, progress: BuildProgress
    ) -> dict[Sha256, LayerRecord]:
        wanted = {request.key: request for request in requests}
        records = {key: record for key in wanted if (record := cache.get(key)) is not None}
        missing = [request for key, request in wanted.items() if key not in records]
        if missing:
            count = 0

            def done(request: LayerRequest) -> None:
                nonlocal count
                count += 1
                progress.layers(count, len(missing), request.distribution)

            build_layers(missing, self.cache_root, crew=self._crew, done=done)
            for request in missing:
                record = cache.get(request.key)
                if record is None:
                    raise StoreUnavailable(
                        f"the layer of {request.wheel.name} vanished from {self.cache_root}"
                    )
                records[request.key] = record
        return records

    def _assemble(
        self,
        build: ServiceBuild,
        requests: Sequence[LayerRequest],
        records: dict[Sha256, LayerRecord],
        cache: LayerCache,
    ) -> BuiltArtifact:
        skeleton = self._skeleton(build.target, cache)
        parts = [Part(record=skeleton, blob=cache.blob(skeleton.key), wheel="", wheel_sha256=None)]
        for wheel, request in zip(build.wheels, requests, strict=True):
            record = records[request.key]
            parts.append(
                Part(
                    record=record,
                    blob=cache.blob(record.key),
                    wheel=wheel.filename,
                    wheel_sha256=wheel.sha256,
                )
            )
        draft = self._draft(build, parts)
        tarball, manifest = self.output / draft.tarball_path, self.output / built_manifest_path(draft)
        beside = self.describer.paths(draft) if self.describer else ()
        known = already_built(draft, self.output, beside)
        if known is None:
            contents = self._write(parts, tarball, requests, cache)
            artifact = replace(draft, sha256=contents.sha256)
            documents = self.describer.describe(build, artifact) if self.describer else {}
            write_documents(self.output, {**documents, built_manifest_path(artifact): artifact.to_json()})
        return BuiltArtifact(
            artifact=known or artifact,
            tarball=tarball,
            manifest=manifest,
            unchanged=known is not None,
            unpinned=tuple(wheel.filename for wheel in build.wheels if not wheel.pinned),
            notes=_notes(build, [part.record for part in parts]),
        )

    def _skeleton(self, target: Target, cache: LayerCache) -> LayerRecord:
        key = skeleton_key(target, self.compression)
        return cache.get(key) or cache.build(key, lambda sink: build_skeleton(target, self.compression, sink))

    def _write(
        self, parts: Sequence[Part], tarball: Path, requests: Sequence[LayerRequest], cache: LayerCache
    ) -> Assembled:
        """Assemble; each layer that the disk has damaged is built again, once."""
        repaired: set[Sha256] = set()
        while True:
            try:
                return assemble(parts, self.compression, tarball)
            except DamagedLayer as damage:
                if damage.key in repaired:
                    raise
                repaired.add(damage.key)
                cache.drop(damage.key)
                again = [request for request in requests if request.key == damage.key]
                if again:
                    build_layers(again, self.cache_root, crew=self._crew, done=lambda _: None)
                else:
                    self._skeleton(requests[0].target, cache)
            except OSError as error:
                raise StoreUnavailable(f"cannot write {tarball}: {error.strerror}") from error

    def _draft(self, build: ServiceBuild, parts: Sequence[Part]) -> Artifact:
        """Return the manifest but for the tarball's digest: all that follows from the inputs alone."""
        records = [part.record for part in parts]
        service = build.service
        layers = table_of_contents(parts, end_of_archive(self.compression))
        return Artifact(
            service=service.name,
            version=build.version,
            target=build.target,
            identity=_identity(build, parts, self.compression),
            compression=self.compression.kind,
            compiled_by=build.interpreter.version if build.interpreter else None,
            needs=merge_needs([(part.wheel, part.record.elf) for part in parts if part.wheel], build.target),
            layers=layers,
            length=sum(layer.length for layer in layers),
            sha256=Sha256("0" * 64),
            entry_points=split_entry_points(records, build.target.site_packages)[0],
            overlaps=find_overlaps(records, service.allow_overlap),
            checks=service.checks,
            mutable_paths=service.mutable_paths,
            system_packages=service.system_packages,
            rollback_barrier=service.rollback_barrier,
        )


def build_key(build: ServiceBuild) -> tuple[str, str]:
    """Return what tells one build of a release from the others."""
    return build.service.name, str(build.target)


def _identity(build: ServiceBuild, parts: Sequence[Part], compression: Compression) -> Sha256:
    """Return the digest of all inputs. Layer keys stand for wheels, python, compressor and format.

    The skeleton counts by its content, so that another virtualenv with the same scripts changes
    nothing. Wheels' names count since they promise a libc.
    """
    service = build.service
    skeleton, *others = parts
    return digest_of(
        {
            "format": LAYER_FORMAT,
            "service": service.name,
            "version": build.version,
            "target": str(build.target),
            "skeleton": skeleton.record.tar_sha256,
            "layers": [[part.wheel, part.record.key] for part in others],
            "compression": compression.identity,
            "checks": [
                service.checks.imports,
                service.checks.commands,
                service.checks.timeout,
                service.checks.user,
                *([] if service.checks.dependencies else ["no dependencies"]),
            ],
            "mutable_paths": [_pair(item) for item in service.mutable_paths],
            "system_packages": service.system_packages,
            "allow_overlap": service.allow_overlap,
            "rollback_barrier": service.rollback_barrier,
        }
    )


def _notes(build: ServiceBuild, records: Sequence[LayerRecord]) -> tuple[str, ...]:
    elf = elf_notes(
        [(wheel.filename, record.elf) for wheel, record in zip(build.wheels, records[1:], strict=True)],
        build.target,
    )
    return (*split_entry_points(records, build.target.site_packages)[1], *elf)


def _pair(item: MutablePath) -> list[str]:
    return [item.path, item.policy]
