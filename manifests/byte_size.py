"""Numbers of bytes as people write them: ``500M``, ``2G``."""

from __future__ import annotations

import re

from manifests.errors import InvalidInput

_SIZE = re.compile(r"([0-9]{1,12})([kKmMgGtT]?)[bB]?", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, *, what: str, least: int = 0, thousand: int = 1000) -> int:
    """Return the bytes that *text* means: digits, and K, M, G or T, powers of *thousand*; of either case.

    Raises InvalidInput naming *what* for anything else, and for less than *least*.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{what}: {text!r} is no number of bytes; write 250000, 500K, 2M, 1G or 1T")
    found = int(match[1]) * thousand ** _POWERS[match[2].lower()]
    if found < least:
        raise InvalidInput(f"{what}: {text!r} is too little; it takes {least} at least")
    return int(found)
