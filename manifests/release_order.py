"""The order of releases: by version where a name is one, else as people count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

_NUMBERS = re.compile(r"(\d+)")


def in_order(releases: Iterable[str]) -> list[str]:
    """Return *releases*, oldest first: names that are versions (PEP 440) by them, the others before."""
    return sorted(releases, key=_key)


def _key(release: str) -> tuple[int, Version, list[tuple[int, int, str]], str]:
    counted = [
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in _NUMBERS.split(release) if part
    ]
    try:
        return 1, Version(release), [], release
    except InvalidVersion:
        return 0, Version("0"), counted, release
