"""Which wheels of an artifact need which others there, as their metadata says it for the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from manifests.target import Target


def dependency_graph(
    requires: Mapping[str, Iterable[str]], wanted: Iterable[str], target: Target
) -> dict[str, set[str]]:
    """Return, for each distribution in *requires*, those of them that it needs.

    *requires* maps normalized names to lines of Requires-Dist, *wanted* are the requirements of the
    service, whose extras count too. Lines that nobody can parse are left out.
    """
    parsed = {name: _parsed(lines) for name, lines in requires.items()}
    environment = target.marker_environment
    graph: dict[str, set[str]] = {name: set() for name in requires}
    seen: dict[str, set[str]] = {}
    pending = [(name, "") for name in requires]
    pending += [pair for requirement in _parsed(wanted) for pair in _asked(requirement)]
    while pending:
        name, extra = pending.pop()
        if name not in graph or extra in seen.setdefault(name, set()):
            continue
        seen[name].add(extra)
        for requirement in parsed[name]:
            if _applies(requirement, {**environment, "extra": extra}):
                needed = canonicalize_name(requirement.name)
                if needed in graph and needed != name:
                    graph[name].add(needed)
                pending += _asked(requirement)
    return graph


def _asked(requirement: Requirement) -> list[tuple[str, str]]:
    name = canonicalize_name(requirement.name)
    return [(name, canonicalize_name(extra)) for extra in requirement.extras]


def _parsed(lines: Iterable[str]) -> list[Requirement]:
    found = []
    for line in lines:
        try:
            found.append(Requirement(line))
        except (InvalidRequirement, ValueError, RecursionError):
            continue
    return found


def _applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate(environment)
    except (UndefinedEnvironmentName, ValueError):
        return False
