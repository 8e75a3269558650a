"""What the commands of hosts share: the source of releases that options name, and steps as progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.console import size
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from distributor.release_source import ReleaseSource
    from manifests.console import Console


def open_releases(
    store: str | None, root: Path | None, state: Path, *, allow_expired: str | None
) -> ReleaseSource:
    """Return the releases of the store named *store*, trusted as *root* says.

    Raises InvalidInput where no store is named, and what opening and refreshing raise.
    """
    from distributor.places import read_root
    from distributor.release_source import StoreReleases
    from distributor.stores.location import open_store

    if store is None:
        raise InvalidInput("name the artifact store: --store LOCATION, or VENVOY_STORE")
    return StoreReleases(open_store(store), state, read_root(root), allow_expired=allow_expired is not None)


class StepProgress:
    """Turns the steps of an install into a bar or, off a terminal, into a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that *step* is at *done* of *total* bytes (0 of 0 where that is not known)."""
        if step != self._name:
            self._name = step
            self._console.line(f"{step} ..." if ":" not in step else step)
        if total:
            self._console.bar(step, done, total, f"{size(done)} of {size(total)}")
