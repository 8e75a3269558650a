"""Which artifacts hold a package that a requirement means, such as ``requests<2.32``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from manifests.contents import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is looked for: a distribution by its normalized name, and its versions."""

    name: str
    versions: SpecifierSet

    def meets(self, version: str) -> bool:
        """Say whether *version* is meant. What cannot be compared (a commit) is: better seen than missed."""
        try:
            parsed = Version(version)
        except InvalidVersion:
            return True
        return self.versions.contains(parsed, prereleases=True)


def read_wanted(texts: Iterable[str]) -> tuple[Wanted, ...]:
    """Return what *texts* look for. Raises InvalidInput for what is more than a name and versions."""
    found = []
    for text in texts:
        try:
            requirement = Requirement(text)
        except (InvalidRequirement, ValueError, RecursionError):
            raise InvalidInput(
                f"{text!r} is not a requirement; write 'requests<2.32', and quote it for the shell"
            ) from None
        if requirement.url or requirement.extras or requirement.marker:
            raise InvalidInput(f"{text!r}: only a name and versions can be looked for, as 'requests<2.32'")
        found.append(Wanted(name=canonicalize_name(requirement.name), versions=requirement.specifier))
    return tuple(found)


class Search:
    """Looks for several things in many artifacts; each version is compared once."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted: dict[str, list[Wanted]] = {}
        for item in wanted:
            self._wanted.setdefault(item.name, []).append(item)
        self._known: dict[Package, bool] = {}

    def hits(self, packages: Iterable[Package]) -> Iterator[Package]:
        """Yield those of *packages* that are looked for."""
        for package in packages:
            if package[0] not in self._wanted:
                continue
            known = self._known.get(package)
            if known is None:
                known = any(item.meets(package[1]) for item in self._wanted[package[0]])
                self._known[package] = known
            if known:
                yield package
