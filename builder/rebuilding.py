"""One artifact built again from its spec, lock and wheels, and from no layer that was built before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.execution.local import LocalCrew
from builder.jobs import chosen_jobs
from builder.layers.compression import Compression
from builder.pipeline import ArtifactBuilder
from builder.release_build import Preparation
from builder.reproducing import Files
from builder.wheels.cache import WheelCache
from manifests.errors import NotFound
from manifests.release_spec import read_release_spec

if TYPE_CHECKING:
    from builder.pipeline import BuildProgress
    from builder.sandbox.cage import SandboxMode
    from builder.sandbox.limits import BuildLimits

_LEVELS = {"zstd": Compression.level, "gzip": 6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuild:
    """From what, and how. *cache* gives wheels alone; *level* None asks the artifact's provenance."""

    spec: Path
    cache: Path
    sources: tuple[str, ...]
    lock_directory: Path | None
    python: Path | None
    offline: bool
    level: int | None
    jobs: int
    limits: BuildLimits
    sandbox: SandboxMode

    def build(
        self,
        old: Files,
        folder: Path,
        progress: BuildProgress,
        *,
        wheels: Callable[[int, int, str], None],
        note: Callable[[str], None],
    ) -> tuple[Files, list[str]]:
        """Build the service and target of *old* below *folder*; return it, and what may explain differences.

        Raises NotFound where the spec has no such service or target, and what a build raises.
        """
        artifact = old.artifact
        release = read_release_spec(self.spec)
        chosen = [job for job in chosen_jobs(release, [artifact.service], []) if job[1] == artifact.target]
        if not chosen:
            raise NotFound(f"{self.spec} has no {artifact.service} for {artifact.target}")
        crew = LocalCrew(jobs=self.jobs)
        preparation = Preparation(
            cache=WheelCache(self.cache),
            sources=self.sources,
            lock_directory=self.lock_directory,
            pythons={artifact.target: self.python} if self.python else {},
            offline=self.offline,
            bytecode=artifact.compiled_by is not None,
            crew=crew,
            limits=self.limits,
            sandbox=self.sandbox,
        )
        builder = ArtifactBuilder(
            cache_root=folder / "cache",
            output=folder / "build",
            compression=Compression(artifact.compression, self._level(old)),
            crew=crew,
        )
        built = builder.build(preparation.prepare(release, chosen, wheels, note), progress)[0]
        new = Files(artifact=built.artifact, tarball=built.tarball)
        return new, _notes(artifact.compiled_by, new.artifact.compiled_by)

    def _level(self, old: Files) -> int:
        if self.level is not None:
            return self.level
        told = old.options.get("level")
        return told if isinstance(told, int) else _LEVELS[old.artifact.compression]


def _notes(before: str | None, now: str | None) -> list[str]:
    if before == now:
        return []
    return [f"it was compiled by Python {before}, here by {now}"]
