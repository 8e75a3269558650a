"""What the commands of hosts share: the source of releases that options name, and steps as progress."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, MetadataExpired, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.layers.release_source import ReleaseSource
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust
    from manifests.console import Console


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """What command lines say of stores: mirrors in order, the trusted root, the memory, the speed.

    *limit_rate* is in bytes per second. *allow_expired* is the reason, or None where nothing may be.
    A *bundle* is read instead of all stores.
    """

    stores: tuple[str, ...]
    root: Path | None
    state: Path
    limit_rate: int | None = None
    allow_expired: str | None = None
    bundle: Path | None = None


def open_releases(options: StoreOptions) -> ReleaseSource:
    """Return the releases of the store that *options* name, or of its mirrors.

    Raises InvalidInput where no store is named, and what opening raises.
    """
    from distributor.layers.release_source import StoreReleases
    from distributor.places import read_root
    from distributor.stores.location import open_mirrors

    if options.bundle is not None:
        from distributor.bundles.store import open_bundle

        root = read_root(options.root)
        bundle = open_bundle(options.bundle, root)
        return StoreReleases(bundle, options.state, root, allow_expired=True)
    if not options.stores:
        raise InvalidInput("name the artifact store: --store LOCATION, or VENVOY_STORE")
    limit = None
    if options.limit_rate is not None:
        from distributor.stores.rate_limit import RateLimit

        limit = RateLimit(options.limit_rate)
    return StoreReleases(
        open_mirrors(options.stores, limit=limit),
        options.state,
        read_root(options.root),
        allow_expired=options.allow_expired is not None,
    )


def open_wanted(
    options: StoreOptions, release: str | None, channel: str | None
) -> tuple[str, Callable[[], ReleaseSource]]:
    """Return the *release* that is wanted, or the one that *channel* means now, and what opens its source.

    Only a channel asks the store for that. Raises InvalidInput unless one of the two is named.
    """
    from manifests.naming import release_name

    if (release is None) == (channel is None):
        raise InvalidInput("name what is wanted by --release or by --channel")
    if release is not None:
        return release_name(release), lambda: open_releases(options)
    source = open_releases(options)
    return source.channel(channel or "").release, lambda: source


def open_trust(
    store: str, root: Path | None, state: Path, note: Callable[[str], None] | None = None
) -> tuple[ReadStore, Trust]:
    """Return the *store* and its verified present state. Raises what opening and refreshing raise.

    Where *note* is given and the store cannot be reached, what was verified on this host before counts, and
    *note* is told why.
    """
    from distributor.places import read_root
    from distributor.stores.location import open_store
    from distributor.trust.trust import Trust

    opened = open_store(store)
    anchor = read_root(root)
    trust = Trust(opened, state, anchor)
    try:
        trust.refresh()
    except (StoreUnavailable, MetadataExpired) as error:
        if note is None:
            raise
        trust = Trust.remembered(opened.location, state, anchor)
        try:
            trust.refresh()
        except NotFound:
            raise error from None
        note(f"{error}\nwent on with what was verified on this host before")
    return opened, trust


@contextlib.contextmanager
def looking_only(options: StoreOptions, *, dry_run: bool) -> Iterator[StoreOptions]:
    """Yield *options* whose memory is a copy, where it is a *dry_run*: what is seen leaves no trace then."""
    if not dry_run:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="venvoy-") as folder:
        copy = Path(folder) / "state"
        copy.mkdir(mode=0o700)
        for seen in options.state.glob("[0-9a-f]" * 16):
            shutil.copytree(seen, copy / seen.name, symlinks=True)
        yield replace(options, state=copy)


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
            self._console.moved(step, done, total)
