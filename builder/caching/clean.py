"""Cleaning by age and size, safe beside running builds: what they used is not touched."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.caching.inventory import Entry, entries, last_used, leftovers
from builder.caching.usage import cleaning, oldest_running
from manifests.errors import StoreUnavailable

_STALE_SECONDS = 24 * 3600
_BATCH = 50
"""How many entries are removed before builds that wait for their turn have it."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was removed (or would be), and what was kept for the builds that run."""

    removed: tuple[Entry, ...]
    kept_for_builds: int

    @property
    def size(self) -> int:
        """The bytes that came free."""
        return sum(entry.size for entry in self.removed)


def clean(root: Path, *, age: float | None, size: int | None, dry_run: bool = False) -> Cleaned:
    """Remove entries not used for *age* seconds, then the least recently used ones beyond *size* bytes.

    What half-done work left more than a day ago goes too. Raises StoreUnavailable.
    """
    if not root.is_dir():
        return Cleaned(removed=(), kept_for_builds=0)
    now = time.time()
    chosen = _chosen(entries(root), now, age, size)
    chosen += [entry for entry in leftovers(root) if entry.used < now - _STALE_SECONDS]
    removed: list[Entry] = []
    kept = 0
    try:
        for start in range(0, len(chosen), _BATCH):
            with cleaning(root, exclusive=True):
                since = oldest_running(root)
                for entry in chosen[start : start + _BATCH]:
                    used = last_used(entry)
                    if used is None or used > entry.used:
                        continue  # gone, or in use again
                    if since is not None and used >= since:
                        kept += 1
                    else:
                        if not dry_run:
                            _remove(entry)
                        removed.append(entry)
                if since is None and not dry_run:
                    _remove_locks(root)
    except OSError as error:
        raise StoreUnavailable(f"the cache {root} cannot be cleaned: {error.strerror}") from error
    return Cleaned(removed=tuple(removed), kept_for_builds=kept)


def _chosen(found: Sequence[Entry], now: float, age: float | None, size: int | None) -> list[Entry]:
    oldest_first = sorted(found, key=lambda entry: (entry.used, entry.kind, entry.name))
    chosen = [entry for entry in oldest_first if age is not None and entry.used < now - age]
    if size is not None:
        left = sum(entry.size for entry in oldest_first[len(chosen) :])
        for entry in oldest_first[len(chosen) :]:
            if left <= size:
                break
            chosen.append(entry)
            left -= entry.size
    return chosen


def _remove(entry: Entry) -> None:
    for path in _facts_first(entry):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or a folder of everybody
        if entry.kind in ("wheels", "sdists"):
            entry.paths[0].parent.rmdir()


def _facts_first(entry: Entry) -> Iterator[Path]:
    """Yield facts before bytes: a reader that finds a layer's facts shall find its bytes."""
    yield from sorted(entry.paths, key=lambda path: path.suffix != ".json")


def _remove_locks(root: Path) -> None:
    """Remove locks of builds that left nothing else. Nobody can be waiting for one: no build runs."""
    for path in (root / "built").glob("*.lock"):
        if not path.with_suffix(".json").exists() and not path.with_suffix(".log").exists():
            path.unlink(missing_ok=True)
