"""From a release spec to what the pipeline builds: locks read, wheels at hand, interpreters found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.execution.crew import Crew
from builder.execution.local import LocalCrew
from builder.jobs import lock_path
from builder.pipeline import ServiceBuild
from builder.resolving.constraint_files import gather_constraints
from builder.sandbox.cage import SandboxMode
from builder.sandbox.limits import BuildLimits
from builder.wheels.cache import WheelCache
from builder.wheels.gathering import WheelBuilder, resolve_wheels
from builder.wheels.sources import WheelSource, absolute_location, open_source
from manifests.errors import NotFound
from manifests.interpreter import Interpreter
from manifests.lock import Lock, LockedPackage, artifact_version, read_lock
from manifests.release_spec import ReleaseSpec, ServiceSpec
from manifests.target import Target


@dataclass(kw_only=True)
class Preparation:
    """How wheels are found. *sources* are read-only caches, in order; *pythons* override the search.

    With *bytecode* false, or where no interpreter of a target is at hand, artifacts carry no ``.pyc``.
    *limits* and *sandbox* are for code of sdists.
    """

    cache: WheelCache
    sources: Sequence[str] = ()
    lock_directory: Path | None = None
    pythons: Mapping[Target, Path] = field(default_factory=dict)
    offline: bool = False
    bytecode: bool = True
    crew: Crew = field(default_factory=LocalCrew)
    limits: BuildLimits = field(default_factory=BuildLimits)
    sandbox: SandboxMode = "auto"

    def prepare(
        self,
        spec: ReleaseSpec,
        jobs: Sequence[tuple[ServiceSpec, Target]],
        progress: Callable[[int, int, str], None],
        note: Callable[[str], None],
    ) -> list[ServiceBuild]:
        """Return what to build for *jobs*; every distinct wheel is in the cache then.

        Raises NotFound, StoreUnavailable, VerificationFailed or HostUnsuitable naming each wheel that
        cannot be had.
        """
        opened = [open_source(location) for location in self.sources]
        locks = {
            job: read_lock(lock_path(spec, job[0].name, job[1], self.lock_directory), job[1]) for job in jobs
        }
        builds = []
        for target in dict.fromkeys(target for _, target in jobs):
            interpreter = self._interpreter(target, note)
            mine = [job for job in jobs if job[1] == target]
            for group in _built_alike(mine):
                builds += self._resolve(group, locks, interpreter, opened, progress)
        order = {job: position for position, job in enumerate(jobs)}
        return sorted(builds, key=lambda build: order[build.service, build.target])

    def _interpreter(self, target: Target, note: Callable[[str], None]) -> Interpreter | None:
        found = self.crew.interpreter(target, self.pythons.get(target))
        if found is None:
            note(
                f"no {target.python_name} here: artifacts for {target} are made of wheels alone, without .pyc"
            )
        return found

    def _resolve(
        self,
        jobs: Sequence[tuple[ServiceSpec, Target]],
        locks: Mapping[tuple[ServiceSpec, Target], Lock],
        interpreter: Interpreter | None,
        sources: Sequence[WheelSource],
        progress: Callable[[int, int, str], None],
    ) -> list[ServiceBuild]:
        target = jobs[0][1]
        distinct: dict[tuple[str, str], LockedPackage] = {}
        for job in jobs:
            for package in locks[job].packages:
                distinct.setdefault(_package_key(package), package)
        wheels = resolve_wheels(
            list(distinct.values()),
            target,
            sources,
            self.cache,
            offline=self.offline,
            sdist_builder=self._sdist_builder(jobs[0][0], target, interpreter),
            progress=progress,
        )
        by_key = dict(zip(distinct, wheels, strict=True))
        return [
            ServiceBuild(
                service=service,
                target=target,
                version=artifact_version(locks[service, target], service),
                wheels=tuple(by_key[_package_key(package)] for package in locks[service, target].packages),
                interpreter=interpreter if self.bytecode else None,
            )
            for service, _ in jobs
        ]

    def _sdist_builder(
        self, service: ServiceSpec, target: Target, interpreter: Interpreter | None
    ) -> WheelBuilder:
        from builder.wheels.sdist_build import BuildOptions

        options = BuildOptions(
            constraints=self._constraints(service),
            find_links=tuple(absolute_location(place) for place in self.sources),
            offline=self.offline,
            network=service.build_network,
            limits=self.limits,
            sandbox=self.sandbox,
        )
        return self.crew.wheel_builder(self.cache, target, interpreter, options)

    def _constraints(self, service: ServiceSpec) -> str:
        if not service.build_constraints:
            return ""
        with tempfile.TemporaryDirectory(prefix="venvoy-constraints-") as folder:
            files = gather_constraints(service.build_constraints, Path(folder), offline=self.offline)
            return "\n".join(
                files[source].read_text(encoding="utf-8") for source in service.build_constraints
            )


def _built_alike(
    jobs: Sequence[tuple[ServiceSpec, Target]],
) -> list[list[tuple[ServiceSpec, Target]]]:
    """Group jobs whose sdists are built alike, so that each distinct package is resolved once."""
    groups: dict[tuple[bool, tuple[Path | str, ...]], list[tuple[ServiceSpec, Target]]] = {}
    for job in jobs:
        groups.setdefault((job[0].build_network, job[0].build_constraints), []).append(job)
    return list(groups.values())


def _package_key(package: LockedPackage) -> tuple[str, str]:
    chosen = package.wheels[0] if package.wheels else package.sdist or package.archive
    digest = chosen.sha256 if chosen else f"{package.vcs.url}@{package.vcs.commit}" if package.vcs else ""
    return package.name, digest


def pythons_from(texts: Sequence[str]) -> dict[Target, Path]:
    """Read ``TARGET=PATH`` options. Raises NotFound for a path without an interpreter."""
    result = {}
    for text in texts:
        name, _, path = text.partition("=")
        target = Target.parse(name)
        if not Path(path).is_file():
            raise NotFound(f"--python {text}: there is no interpreter at {path or 'an empty path'}")
        result[target] = Path(path)
    return result
