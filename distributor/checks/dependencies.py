"""Whether the distributions of a staged tree fit each other: what one requires, another must be.

Read are the headers of METADATA alone, and nothing of the tree runs. Markers are evaluated for the
venv's interpreter, not for the one that runs this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import HealthCheckFailed

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from manifests.artifact import Artifact
    from manifests.interpreter import Interpreter

_SHOWN = 10
_CHUNK = 8 * 1024
_MAX_HEADER = 1024 * 1024
_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(
    r"^(name|version|requires-dist):[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE
)
_SEPARATORS = re.compile(r"[-_.]+")
_NEEDS_EXTRA = re.compile(r"\bextra\s*==")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One installed distribution: its name and version as it spells them, and its requirement lines."""

    name: str
    version: str
    requires: tuple[str, ...]


def check_dependencies(venv: Path, artifact: Artifact, interpreter: Interpreter) -> None:
    """Raise HealthCheckFailed naming each requirement in *venv* that is not there or does not fit.

    Distributions are those in the artifact's site-packages, linked system packages included. Extras
    count where an installed distribution asks for them. A line that nobody can parse is skipped: a
    careless wheel is no damaged tree. Nothing is looked at where the artifact's checks leave this one
    out. Raises OSError where a file cannot be read.
    """
    if not artifact.checks.dependencies:
        return
    found = list(installed_distributions(venv / artifact.target.site_packages))
    problems = _Checker(found, marker_environment(interpreter)).problems()
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise HealthCheckFailed(f"{artifact.stem}: {shown}{more}")


def installed_distributions(site_packages: Path) -> Iterator[Distribution]:
    """Yield the distributions in *site_packages*, by name of their folder; links are followed.

    Folders without a name or a version are left out. Raises OSError.
    """
    for entry in sorted(os.listdir(site_packages)):  # noqa: PTH208 - names are all that is wanted
        if entry.endswith(".dist-info"):
            header = _header(site_packages / entry / "METADATA")
        elif entry.endswith(".egg-info"):
            header = _header(site_packages / entry / "PKG-INFO") or _header(site_packages / entry)
        else:
            continue
        fields: dict[str, list[str]] = {}
        for key, value in _FIELD.findall(header):
            fields.setdefault(key.lower(), []).append(" ".join(value.split()))
        if "name" in fields and "version" in fields:
            requires = tuple(fields.get("requires-dist", ()))
            yield Distribution(name=fields["name"][0], version=fields["version"][0], requires=requires)


def marker_environment(interpreter: Interpreter) -> dict[str, str]:
    """Return what markers compare with, for *interpreter* on this host (PEP 508)."""
    system = os.uname()
    return {
        "implementation_name": "cpython",
        "implementation_version": interpreter.version,
        "os_name": "posix",
        "platform_machine": interpreter.machine,
        "platform_python_implementation": "CPython",
        "platform_release": system.release,
        "platform_system": "Linux",
        "platform_version": system.version,
        "python_full_version": interpreter.version,
        "python_version": f"{interpreter.python[0]}.{interpreter.python[1]}",
        "sys_platform": "linux",
        "extra": "",
    }


def _header(path: Path) -> str:
    """Return the lines before the first empty one; "" where there is no such file."""
    data = b""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                data += chunk
                if (end := _END.search(data)) is not None:
                    data = data[: end.start()]
                    break
                if len(data) > _MAX_HEADER:
                    break
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    return data.decode("utf-8", "replace")


class _Checker:
    """Goes from distribution to distribution, and on to the extras that are asked for on the way."""

    def __init__(self, found: list[Distribution], environment: dict[str, str]) -> None:
        self._environment = environment
        self._found = found
        self._by_name: dict[str, list[Distribution]] = {}
        for item in found:
            self._by_name.setdefault(_normalised(item.name), []).append(item)
        self._parsed: dict[tuple[str, str], Requirement | None] = {}
        self._fits: dict[tuple[str, str], bool] = {}

    def problems(self) -> list[str]:
        """Return a line for each requirement that is not met, in the distributions' order."""
        problems: dict[str, None] = {}
        pending = [(item, "") for item in self._found]
        seen = {(id(item), "") for item in self._found}
        for item, extra in pending:  # grows while extras are asked for
            for line in item.requires:
                requirement = self._active(line, extra)
                if requirement is None:
                    continue
                candidates = self._by_name.get(_normalised(requirement.name), [])
                if not any(self._fit(requirement, candidate) for candidate in candidates):
                    problems[_problem(item, requirement, candidates)] = None
                for candidate in candidates if requirement.extras else ():
                    for wanted in sorted(requirement.extras):
                        if (id(candidate), wanted) not in seen:
                            seen.add((id(candidate), wanted))
                            pending.append((candidate, wanted))
        return list(problems)

    def _active(self, line: str, extra: str) -> Requirement | None:
        """Return the requirement of *line*, or None where it does not apply or is none."""
        marker = line.partition(";")[2]
        names_extra = "extra" in marker
        if extra and not names_extra:
            return None  # looked at already, without extras
        if not extra and names_extra and " or " not in marker and _NEEDS_EXTRA.search(marker):
            return None
        key = (line, extra)
        if key not in self._parsed:
            self._parsed[key] = self._parse(line, extra)
        return self._parsed[key]

    def _parse(self, line: str, extra: str) -> Requirement | None:
        from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(line)
            if requirement.marker is None:
                return requirement
            applies = requirement.marker.evaluate({**self._environment, "extra": extra})
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            return None
        return requirement if applies else None

    def _fit(self, requirement: Requirement, candidate: Distribution) -> bool:
        from packaging.version import InvalidVersion, Version

        key = (str(requirement.specifier), candidate.version)
        if key not in self._fits:
            try:
                self._fits[key] = requirement.specifier.contains(Version(candidate.version), prereleases=True)
            except InvalidVersion:
                self._fits[key] = True  # nothing can be said of it
        return self._fits[key]


def _problem(item: Distribution, requirement: Requirement, candidates: list[Distribution]) -> str:
    wanted = f"{item.name} {item.version} requires {requirement.name}{requirement.specifier}"
    if not candidates:
        return f"{wanted}, which is not there"
    return f"{wanted}, which is {candidates[0].name} {candidates[0].version}"


def _normalised(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()
