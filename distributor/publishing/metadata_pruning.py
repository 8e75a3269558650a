"""Which versions of metadata nobody needs any more: those that were replaced long enough ago.

A reader in the middle of a refresh holds a timestamp that was the present one a moment before, and reads
what that one names. So what was replaced stays for the time of grace, as far as earlier runs saw, and the
last few versions stay in any case. Every root stays: readers follow them one by one. So do all targets: they
hold the public keys by which envelopes of provenance were signed.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from tuf.api.serialization import DeserializationError

from distributor.trust.roles import metadata_path
from distributor.trust.tuf_api import Metadata, Snapshot
from distributor.trust.tuf_client import METADATA
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta

    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust

KEPT = 2
"""How many replaced versions of each role stay whatever their age."""

_NAME = re.compile(rf"{METADATA}/([0-9]+)\.([^/]+)\.json")


def observed(
    known: Mapping[int, datetime], trust: Trust, now: datetime, grace: timedelta
) -> dict[int, datetime]:
    """Return *known*, snapshots by when they were first seen to be the present one, with that of *trust*.

    What is older than the newest whose time of *grace* is over says nothing more, and is left out.
    """
    present = trust.versions()["snapshot"]
    seen = {version: min(since, now) for version, since in known.items() if version < present}
    seen[present] = min(known.get(present, now), now)
    settled = _settled(seen, now, grace)
    return {version: since for version, since in sorted(seen.items()) if version >= settled}


def superseded(
    store: Store, trust: Trust, seen: Mapping[int, datetime], now: datetime, grace: timedelta
) -> Iterator[str]:
    """Yield the paths of metadata that was replaced before the newest snapshot *seen* that *grace* ago.

    Nothing that the present state names is among them, whatever that snapshot says.
    """
    settled = _settled(seen, now, grace)
    then = _named(store, settled) if settled else {}
    for role, version in _replaced(store, trust):
        if version < then.get(role, 0):
            yield metadata_path(role, version)


def replaced(store: Store, trust: Trust) -> Iterator[str]:
    """Yield the paths of all that was replaced but for the last few, for a copy that had each for a while."""
    for role, version in _replaced(store, trust):
        yield metadata_path(role, version)


def _settled(seen: Mapping[int, datetime], now: datetime, grace: timedelta) -> int:
    """Return the newest snapshot of *seen* whose time of *grace* is over; 0 where there is none."""
    return max((version for version, since in seen.items() if since + grace <= now), default=0)


def _replaced(store: Store, trust: Trust) -> Iterator[tuple[str, int]]:
    present = trust.versions()
    there: dict[str, list[int]] = {}
    for path in store.list(f"{METADATA}/"):
        found = _NAME.fullmatch(path)
        if found and found[2] != "targets" and found[2] in present and int(found[1]) < present[found[2]]:
            there.setdefault(found[2], []).append(int(found[1]))
    for role, versions in sorted(there.items()):
        yield from ((role, version) for version in sorted(versions)[:-KEPT])


def _named(store: Store, version: int) -> dict[str, int]:
    """Return the versions that snapshot *version* names, and its own; nothing where it cannot be read.

    Nobody verifies it: it can only keep more, or less of what was replaced.
    """
    with contextlib.suppress(NotFound, VerificationFailed, DeserializationError):
        data = store.read(metadata_path("snapshot", version), limit=MAX_DOCUMENT_BYTES)
        snapshot = Metadata[Snapshot].from_bytes(data).signed
        if isinstance(snapshot, Snapshot):
            named = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
            return {"snapshot": version, **named}
    return {}
