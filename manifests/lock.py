"""Locks (PEP 751): exactly which files and commits a service is made of on one target.

``packaging.pylock`` checks the format; this module chooses what applies to the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from packaging.pylock import Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from manifests.errors import InvalidInput, NotFound
from manifests.locked_package import LockedFile, LockedPackage, LockedVcs, locked_package
from manifests.requirement import requirement_name
from manifests.strict_toml import load_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from packaging.pylock import Package
    from packaging.specifiers import SpecifierSet

    from manifests.release_spec import ServiceSpec
    from manifests.target import Target

__all__ = [
    "Lock",
    "LockedFile",
    "LockedPackage",
    "LockedVcs",
    "artifact_version",
    "locked_versions",
    "parse_lock",
    "read_lock",
]

_PATCH_LEVELS = range(100)
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock as it applies to one target: its packages, sorted by normalized name."""

    path: Path
    packages: tuple[LockedPackage, ...]

    @cached_property
    def _by_name(self) -> dict[str, LockedPackage]:
        return {package.name: package for package in self.packages}

    def find(self, package: str) -> LockedPackage | None:
        """Return the package of that name in any spelling, or None."""
        return self._by_name.get(canonicalize_name(package))

    def version_of(self, package: str) -> str:
        """Return the version (or its stand-in, ``LockedPackage.label``) of *package*.

        Raises NotFound where the lock does not hold it.
        """
        found = self.find(package)
        if found is None:
            raise NotFound(
                f"{self.path}: {package!r} is not in the lock; "
                "correct 'package' in the release spec, or add it to 'requirements' and run venvoy lock"
            )
        return found.label


def artifact_version(lock: Lock, service: ServiceSpec) -> str:
    """Return the version that names the artifact of *service*.

    It is that of the spec's ``package``, else of the distribution named like the service, else of
    the first requirement. Raises NotFound where the lock does not hold it.
    """
    if service.package is not None:
        return lock.version_of(service.package)
    if (found := lock.find(service.name)) is not None:
        return found.label
    return lock.version_of(requirement_name(service.requirements[0]))


def read_lock(path: Path, target: Target) -> Lock:
    """Read the lock at *path* as it applies to *target*.

    Raises NotFound where there is none, and InvalidInput naming the file, the package and what is
    wrong with it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path}: no such lock; make it with venvoy lock") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    return parse_lock(data, path, target)


def parse_lock(data: bytes, path: Path, target: Target) -> Lock:
    """Return the lock that *data* spells as it applies to *target*; *path* names it in errors."""
    value, _ = load_toml(data, what=str(path))
    try:
        pylock = Pylock.from_dict(value)
        chosen = _applicable(pylock, target)
    except (PylockValidationError, InvalidInput, ValueError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    packages: dict[str, LockedPackage] = {}
    problems: list[str] = []
    for package in chosen:
        try:
            locked = locked_package(package, target)
        except InvalidInput as error:
            version = f" {package.version}" if package.version is not None else ""
            problems.append(f"{path}: {package.name}{version}: {error}")
            continue
        if packages.setdefault(package.name, locked) is not locked:
            problems.append(f"{path}: {package.name}: stands twice for {target}; lock it again")
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        tail = [f"{path}: and {more} packages more"] if more > 0 else []
        raise InvalidInput("\n".join([*problems[:_SHOWN_PROBLEMS], *tail]))
    return Lock(path=path, packages=tuple(packages[name] for name in sorted(packages)))


def locked_versions(data: bytes, *, what: str) -> dict[str, str]:
    """Return the version of each package in the lock *data*, whatever target it is for.

    A git package's commit is part of its version here. Raises InvalidInput for what is no lock.
    """
    value, _ = load_toml(data, what=what)
    try:
        packages = Pylock.from_dict(value).packages
    except PylockValidationError as error:
        raise InvalidInput(f"{what}: {error}") from None
    versions: dict[str, str] = {}
    for package in packages:
        version = "" if package.version is None else str(package.version)
        commit = "" if package.vcs is None else f"@{package.vcs.commit_id[:12]}"
        versions[package.name] = version + commit or "?"
    return versions


def _applicable(pylock: Pylock, target: Target) -> list[Package]:
    """Return the packages whose markers hold on *target*.

    A target does not promise a patch level of Python, and a lock may ask for one. Markers are
    evaluated at the lowest patch level that the lock allows: what the floor needs is then there.
    """
    environment = dict(target.marker_environment)
    floor = _lowest_python(pylock.requires_python, target)
    if floor is None:
        raise InvalidInput(f"requires Python {pylock.requires_python}, which {target} is not; lock it again")
    environment["python_full_version"] = environment["implementation_version"] = floor
    environments = pylock.environments or ()
    if environments and not any(
        marker.evaluate(environment, context="requirement") for marker in environments
    ):
        raise InvalidInput(f"none of the lock's environments is {target}; lock it again for this target")
    lock_environment = cast(
        "Mapping[str, str]",
        {**environment, "extras": frozenset(), "dependency_groups": frozenset(pylock.default_groups or ())},
    )
    chosen = [
        package
        for package in pylock.packages
        if package.marker is None or package.marker.evaluate(lock_environment, context="lock_file")
    ]
    for package in chosen:
        if _lowest_python(package.requires_python, target) is None:
            raise InvalidInput(
                f"{package.name} requires Python {package.requires_python}, which {target} is not; "
                "lock it again for this target"
            )
    return chosen


def _lowest_python(requires: SpecifierSet | None, target: Target) -> str | None:
    major, minor = target.python
    versions = (f"{major}.{minor}.{patch}" for patch in _PATCH_LEVELS)
    return next((version for version in versions if requires is None or requires.contains(version)), None)
