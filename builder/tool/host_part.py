"""The artifact of the host part: locked, built and laid out like every other, but of gzip members.

A host that has nothing yet unpacks it with ``tar -xzf`` and binds it by ``bin/venvoy-bind``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from builder.describing.describer import Describer
from builder.describing.provenance import BuildRun
from builder.jobs import lock_path
from builder.layers.compression import Compression
from builder.pipeline import ArtifactBuilder
from builder.release_build import Preparation
from builder.resolving.locking import LockOptions, lock_release
from builder.tool.host_wheel import DISTRIBUTION, host_requirements, make_host_wheel
from builder.wheels.gathering import ResolvedWheel
from manifests import __version__
from manifests.artifact import Checks
from manifests.documents import Sha256, sha256_file
from manifests.errors import InvalidInput, NotFound
from manifests.lock import read_lock
from manifests.naming import HOST_PART
from manifests.release_spec import ReleaseSpec, ServiceSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.pipeline import BuildProgress, BuiltArtifact, ServiceBuild
    from builder.wheels.cache import WheelCache
    from manifests.target import Target

_CHECKS = Checks(commands=((DISTRIBUTION, "--version"),))


@dataclass(frozen=True, kw_only=True)
class HostPart:
    """How to build the host part into *output*, for hosts that use *extras* of Venvoy.

    Locks lie in *locks*; those that still meet what Venvoy requires are used as they are, unless
    *upgrade*. *sources* are read-only places of wheels; *pythons* override the search.
    """

    output: Path
    locks: Path
    cache: WheelCache
    cache_root: Path
    extras: Sequence[str] = ("http",)
    sources: Sequence[str] = ()
    pythons: Mapping[Target, Path]
    upgrade: bool = False
    offline: bool = False
    level: int = 6
    jobs: int = 1

    def build(
        self,
        targets: Sequence[Target],
        progress: BuildProgress,
        wheels: Callable[[int, int, str], None],
        note: Callable[[str], None],
    ) -> list[BuiltArtifact]:
        """Build one artifact for each of *targets*. Raises what locking and building raise."""
        specs = tuple(self._service(target) for target in dict.fromkeys(targets))
        spec = ReleaseSpec(
            release=__version__, targets=tuple(targets), services=specs, path=self.output / "release.toml"
        )
        jobs = [(service, target) for service in specs for target in service.targets]
        self._lock(spec, jobs, note)
        preparation = Preparation(
            cache=self.cache,
            sources=self.sources,
            lock_directory=self.locks,
            pythons=self.pythons,
            offline=self.offline,
        )
        builder = ArtifactBuilder(
            cache_root=self.cache_root,
            output=self.output,
            compression=Compression("gzip", self.level),
            jobs=self.jobs,
            describer=Describer(
                run=BuildRun.now(spec.release, None),
                locks={
                    (service.name, str(target)): lock_path(spec, service.name, target, self.locks)
                    for service, target in jobs
                },
                options={"compression": "gzip", "level": self.level, "bytecode": True},
            ),
        )
        with tempfile.TemporaryDirectory(prefix="venvoy-tool-") as folder:
            own = _resolved(make_host_wheel(Path(folder)))
            builds = [_with(own, build) for build in preparation.prepare(spec, jobs, wheels, note)]
            return builder.build(builds, progress)

    def _service(self, target: Target) -> ServiceSpec:
        return ServiceSpec(
            name=HOST_PART,
            requirements=host_requirements(target, self.extras),
            targets=(target,),
            checks=_CHECKS,
        )

    def _lock(
        self, spec: ReleaseSpec, jobs: Sequence[tuple[ServiceSpec, Target]], note: Callable[[str], None]
    ) -> None:
        wanted = [job for job in jobs if self.upgrade or not self._suits(spec, *job)]
        if wanted:
            options = LockOptions(directory=self.locks, upgrade=self.upgrade, offline=self.offline)
            lock_release(spec, options, wanted, note)

    def _suits(self, spec: ReleaseSpec, service: ServiceSpec, target: Target) -> bool:
        """Say whether there is a lock that meets what this version of Venvoy requires."""
        try:
            lock = read_lock(lock_path(spec, service.name, target, self.locks), target)
        except (NotFound, InvalidInput):
            return False
        for text in service.requirements:
            requirement = Requirement(text)
            package = lock.find(requirement.name)
            if package is None or not requirement.specifier.contains(package.label, prereleases=True):
                return False
        return True


def _with(own: ResolvedWheel, build: ServiceBuild) -> ServiceBuild:
    wheels = sorted((own, *build.wheels), key=lambda wheel: wheel.name)
    return replace(build, version=__version__, wheels=tuple(wheels))


def _resolved(wheel: Path) -> ResolvedWheel:
    return ResolvedWheel(
        name=DISTRIBUTION,
        version=__version__,
        path=wheel,
        sha256=Sha256(sha256_file(wheel)),
        filename=wheel.name,
        origin="built",
        pinned=True,
    )
