"""Brings pages into a store: those that changed, and an index of them for the next time.

Pages are derived: nothing is believed of them, and whoever can write to the store can alter them. The
index is believed no more: it decides what is written again, and names nothing outside the site.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from manifests.documents import MAX_DOCUMENT_BYTES, Sha256, canonical_json, parse_json, sha256_bytes
from manifests.errors import InvalidInput, Locked
from manifests.fields import Fields
from manifests.naming import safe_relative_path

if TYPE_CHECKING:
    from distributor.stores.interface import Store

FORMAT_MAJOR = 1
FORMAT = "1.0"
INDEX = "pages.json"
"""Which pages were written, by path in the site: of what they were made, and what they are."""
_ATTEMPTS = 5
_NO_INPUTS = Sha256("0" * 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A page as the index has it: the digest of what it was made of, and its own."""

    inputs: Sha256
    sha256: Sha256


@dataclass(kw_only=True)
class SiteWriter:
    """Writes pages below *prefix* (empty, or with a final slash) in *store*."""

    store: Store
    prefix: str
    _before: dict[str, Written] = field(default_factory=dict)
    _now: dict[str, Written] = field(default_factory=dict)
    written: int = 0
    removed: int = 0

    def open(self) -> None:
        """Read the index of the last time, if there is one that can be read."""
        found = self.store.read_versioned(self.prefix + INDEX, limit=MAX_DOCUMENT_BYTES)
        if found is not None:
            with contextlib.suppress(InvalidInput):
                self._before = _read_index(found[0])

    @property
    def kept(self) -> int:
        """How many pages stay as they were."""
        return len(self._now) - self.written

    def keep(self, path: str, inputs: Sha256) -> bool:
        """Keep the page *path* if it was made of *inputs*; return whether it was."""
        page = self._before.get(path)
        if page is None or page.inputs != inputs:
            return False
        self._now[path] = page
        return True

    def write(self, path: str, data: bytes, inputs: Sha256 = _NO_INPUTS) -> None:
        """Write the page *path* unless these bytes stand there. Raises as the store does."""
        page = Written(inputs=inputs, sha256=sha256_bytes(data))
        before = self._before.get(path)
        self._now[path] = page
        if before is None or before.sha256 != page.sha256:
            self._put(path, data)
            self.written += 1

    def close(self) -> None:
        """Remove the pages that are no more, and write the index."""
        for path in sorted(self._before.keys() - self._now.keys()):
            self.store.delete(self.prefix + path)
            self.removed += 1
        data = _index(self._now)
        if self._now != self._before:
            self._put(INDEX, data)

    def _put(self, path: str, data: bytes) -> None:
        for _ in range(_ATTEMPTS):
            found = self.store.read_versioned(self.prefix + path, limit=MAX_DOCUMENT_BYTES)
            if found is not None and found[0] == data:
                return
            version = found[1] if found is not None else None
            if self.store.replace_if_unchanged(self.prefix + path, data, version):
                return
        raise Locked(f"somebody else writes {self.prefix}{path} in {self.store.location}; try again")


def write_all(
    writer: SiteWriter, pages: Iterable[tuple[str, bytes]], progress: Callable[[int], None]
) -> None:
    """Write *pages*; *progress* is told how many are done."""
    for count, (path, data) in enumerate(pages):
        writer.write(path, data)
        progress(count + 1)


def _index(pages: Mapping[str, Written]) -> bytes:
    value = {path: [page.inputs, page.sha256] for path, page in pages.items()}
    return canonical_json({"format": FORMAT, "pages": value})


def _read_index(data: bytes) -> dict[str, Written]:
    top = Fields(parse_json(data, what=INDEX), INDEX)
    top.expect_format(FORMAT_MAJOR)
    found = {}
    for path, digests in top.object("pages").text_lists().items():
        if len(digests) != 2:
            raise InvalidInput(f"{INDEX}: {path!r} has no two digests")
        safe = safe_relative_path(path, what=INDEX)
        found[safe] = Written(inputs=Sha256(digests[0]), sha256=Sha256(digests[1]))
    return found
