"""The release spec, ``release.toml``: which services a release has, and what each is made of.

People write it and keep it in git, so that the reader is strict: an unknown key is a mistake. All
mistakes are reported at once, each with its key and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from packaging.utils import InvalidName, canonicalize_name

from manifests.artifact import Checks, MutablePath
from manifests.errors import InvalidInput, NotFound
from manifests.naming import release_name, safe_relative_path, service_name
from manifests.requirement import parse_requirement
from manifests.strict_toml import Problems, Table, load_toml
from manifests.target import Target
from manifests.urls import redacted, web_url

if TYPE_CHECKING:
    from collections.abc import Callable

_TOP_KEYS = ("release", "targets", "constraints", "build-constraints", "build-network", "services")
_SERVICE_KEYS = (
    "requirements",
    "package",
    "constraints",
    "build-constraints",
    "build-network",
    "targets",
    "mutable-paths",
    "system-packages",
    "allow-overlap",
    "rollback-barrier",
    "checks",
)
_MUTABLE_KEYS = ("path", "policy")
_CHECK_KEYS = ("imports", "commands", "timeout", "user", "dependencies")
_MAX_TIMEOUT = 24 * 60 * 60
_NO_CHECKS = Checks()


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """One service. What the release says for all services is already part of it.

    Constraints are local files (Path) or http(s) URLs (str). ``allow_overlap`` holds fnmatch
    patterns of paths that two wheels may own with different bytes. ``package`` names the
    distribution whose version names the artifact (see ``manifests.lock.artifact_version``).
    ``build_network`` lets code of sdists use the network while it is built.
    """

    name: str
    requirements: tuple[str, ...]
    targets: tuple[Target, ...]
    package: str | None = None
    constraints: tuple[Path | str, ...] = ()
    build_constraints: tuple[Path | str, ...] = ()
    build_network: bool = False
    mutable_paths: tuple[MutablePath, ...] = ()
    system_packages: tuple[str, ...] = ()
    allow_overlap: tuple[str, ...] = ()
    rollback_barrier: str | None = None
    checks: Checks = _NO_CHECKS


@dataclass(frozen=True, kw_only=True)
class ReleaseSpec:
    """A whole release: its name, its targets and its services, in the file's order."""

    release: str
    targets: tuple[Target, ...]
    services: tuple[ServiceSpec, ...]
    path: Path

    def service(self, name: str) -> ServiceSpec:
        """Return the service *name*. Raises NotFound naming the services that there are."""
        for service in self.services:
            if service.name == name:
                return service
        names = ", ".join(service.name for service in self.services)
        raise NotFound(f"{self.path}: no service {name!r}; it has: {names}")


def read_release_spec(path: Path) -> ReleaseSpec:
    """Read the release spec at *path*.

    Raises NotFound where there is no such file, and InvalidInput with one line per mistake,
    ``<path>:<line>: <message>``.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; name the release spec to read") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    return parse_release_spec(data, path)


def parse_release_spec(data: bytes, path: Path) -> ReleaseSpec:
    """Return the release spec that *data* spells; *path* names it, and its files are relative to it."""
    value, text = load_toml(data, what=str(path))
    problems = Problems(str(path), text)
    spec = _Reader(path, problems).read(value)
    problems.raise_if_any()
    return spec


class _Reader:
    """Makes the spec of TOML tables. Placeholders stand where a problem was recorded."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self._path = path
        self._problems = problems

    def read(self, value: dict[str, Any]) -> ReleaseSpec:
        top = Table(value, (), _TOP_KEYS, self._problems)
        if not top.has("release"):
            top.missing("release", 'release = "2026.1.0"')
        if not top.has("targets"):
            top.missing("targets", 'targets = ["cp311-linux_x86_64-glibc2.36"]')
        elif top.is_empty("targets"):
            top.problem("targets", "needs one target or more")
        release = top.text("release", release_name) or ""
        targets = top.texts("targets", Target.parse)
        constraints = top.texts("constraints", self._constraint)
        build_constraints = top.texts("build-constraints", self._constraint)
        network = top.flag("build-network", default=False)
        tables = top.tables("services", _SERVICE_KEYS)
        if not top.has("services") or top.is_empty("services"):
            top.missing("services", '[services.keystone], and below it requirements = ["keystone"]')
        services: list[ServiceSpec] = []
        for name, table in tables.items():
            try:
                service_name(name)
            except InvalidInput as error:
                self._problems.add(table.where, str(error))
            service = self._service(name, table, targets, constraints, build_constraints)
            services.append(replace(service, build_network=table.flag("build-network", default=network)))
        return ReleaseSpec(release=release, targets=targets, services=tuple(services), path=self._path)

    def _service(
        self,
        name: str,
        table: Table,
        targets: tuple[Target, ...],
        constraints: tuple[Path | str, ...],
        build_constraints: tuple[Path | str, ...],
    ) -> ServiceSpec:
        if not table.has("requirements"):
            table.missing("requirements", f'requirements = ["{name}==1.0"]')
        elif table.is_empty("requirements"):
            table.problem("requirements", "needs one requirement or more")
        own_constraints = table.texts("constraints", self._constraint)
        own_build_constraints = table.texts("build-constraints", self._constraint)
        return ServiceSpec(
            name=name,
            requirements=table.texts("requirements", parse_requirement),
            targets=table.texts("targets", Target.parse) or targets,
            package=table.text("package", _distribution),
            constraints=_merged(constraints, own_constraints),
            build_constraints=_merged(build_constraints, own_build_constraints),
            mutable_paths=_mutable_paths(table),
            system_packages=table.texts("system-packages", _system_package),
            allow_overlap=table.texts("allow-overlap", _relative),
            rollback_barrier=table.text("rollback-barrier", str.strip),
            checks=_checks(table.table("checks", _CHECK_KEYS)),
        )

    def _constraint(self, text: str) -> Path | str:
        if "://" in text or text.startswith("file:"):
            return web_url(text)
        pure = PurePosixPath(text)
        if pure.is_absolute() or text.startswith(("~", "-")):
            raise InvalidInput(
                f"{redacted(text)!r} is neither a file relative to the spec nor an http(s) URL"
            )
        return self._path.parent / pure


def _merged(first: tuple[Path | str, ...], second: tuple[Path | str, ...]) -> tuple[Path | str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _mutable_paths(table: Table) -> tuple[MutablePath, ...]:
    result: dict[str, MutablePath] = {}
    for index, entry in table.entries("mutable-paths", "path", _MUTABLE_KEYS):
        path = entry.text("path", _relative)
        policy = entry.text("policy", _policy) or MutablePath.policy
        if path in result:
            table.problem("mutable-paths", f"{path!r} stands twice", index)
        elif path is not None:
            result[path] = MutablePath(path=path, policy=policy)
    return tuple(result.values())


def _checks(table: Table) -> Checks:
    return Checks(
        imports=table.texts("imports", _module),
        commands=table.vectors("commands"),
        timeout=table.integer("timeout", Checks.timeout, 1, _MAX_TIMEOUT),
        user=table.text("user", _user),
        dependencies=table.flag("dependencies", default=Checks.dependencies),
    )


def _distribution(text: str) -> str:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        raise InvalidInput(f"{text!r} cannot name a distribution") from None


def _relative(text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise InvalidInput(f"{text!r} is not a plain path relative to the venv, such as 'etc/keystone'")
    return safe_relative_path(text, what="path")


def _policy(text: str) -> str:
    if text not in ("keep", "new"):
        raise InvalidInput(f"{text!r} is neither 'keep' nor 'new'")
    return text


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise InvalidInput(f"{text!r} cannot name {what}")
        return text

    return parse


_module = _matching(re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*"), "a module")
_user = _matching(re.compile(r"[a-z_][a-z0-9_-]{0,31}"), "a user")
_system_package = _matching(re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]*"), "a system package")
