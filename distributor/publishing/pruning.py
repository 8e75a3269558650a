"""Pruning: remove from a store what no release pins, with all that stands beside it, and replaced metadata.

An artifact is published before it is pinned, so what is unpinned is first noted, and removed when it was
unpinned for the whole time of grace. Signatures go first, then the files that they named: a reader never
finds something signed that is not there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from distributor.publishing.metadata_pruning import observed, superseded
from distributor.publishing.metadata_writer import Change, expect
from distributor.publishing.prune_record import RECORD, begin, over, read_record, renewed, update
from distributor.trust.trust import ARTIFACTS
from distributor.trust.tuf_api import Targets
from distributor.trust.updater import family
from manifests.errors import Refused
from manifests.pins import pins_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from distributor.publishing.metadata_writer import Changes
    from distributor.publishing.repository import Repository
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust

__all__ = ["RECORD", "Leftover", "Pruned", "label_of", "prune"]

# Families of objects, and the ends of their names behind an artifact's label.
FAMILIES = {
    "artifacts": (".tar.zst", ".tar.gz", ".json.gz"),
    "sbom": (".cdx.json",),
    "provenance": (".intoto.json",),
    "patches": (),
}
_FROM = "-from-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """What no release pins: an artifact's *label*, its objects, their bytes, and since when that is known."""

    label: str
    objects: tuple[str, ...]
    size: int
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What was removed (or would be), and what waits until its time of grace is over.

    *metadata* are the paths of replaced versions of metadata that went as well; *swept* counts what killed
    writers had left.
    """

    removed: tuple[Leftover, ...]
    waiting: tuple[Leftover, ...]
    metadata: tuple[str, ...] = ()
    swept: int = 0


def prune(
    repository: Repository,
    *,
    grace: timedelta,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Pruned:
    """Remove what was without a pin, or replaced, for *grace*; with *dry_run* only say what that would be.

    Raises Refused where nothing is pinned at all: everything would go. Locked where somebody else prunes.
    """
    store, trust, now = repository.store, repository.trust, datetime.now(timezone.utc)
    if not trust.releases():
        raise Refused(
            f"no release is pinned in {store.location}, so pruning would remove everything; pin one first"
        )
    record, _ = read_record(store)
    signed, pinned = _Signed.by(trust), _Pinned()
    found = list(_leftovers(store, pinned.by(trust), signed, record.unpinned, now))
    due = [item for item in found if item.since + grace <= now]
    waiting = tuple(item for item in found if item not in due)
    if dry_run:
        seen = observed(record.snapshots, trust, now, grace)
        old = tuple(superseded(store, trust, seen, now, grace))
        return Pruned(removed=tuple(due), waiting=waiting, metadata=old)
    removed: Sequence[Leftover] = ()
    if due:
        noted = {item.label: item.since for item in waiting}
        removed = _remove(repository, signed, pinned, due, noted, progress)
        trust = repository.trust
    seen = observed(record.snapshots, trust, now, grace)
    unpinned = None if due else {item.label: item.since for item in found}
    update(store, None, until=over(), unpinned=unpinned, snapshots=seen)
    old = tuple(superseded(store, trust, seen, now, grace))
    for path in old:
        store.delete(path)
    return Pruned(removed=tuple(removed), waiting=waiting, metadata=old, swept=store.sweep())


def label_of(path: str) -> str | None:
    """Return ``SERVICE/LABEL`` of the artifact that the object *path* belongs to, None if to none."""
    family, _, rest = path.partition("/")
    service, _, name = rest.partition("/")
    if family not in FAMILIES or not name or "/" in name:
        return None
    if family == "patches":
        label, found, _ = name.partition(_FROM)
        return f"{service}/{label}" if found else None
    for end in FAMILIES[family]:
        if name.endswith(end):
            return f"{service}/{name.removesuffix(end)}"
    return None


class _Pinned:
    """Labels of all that releases pin. What was read of a release once, to the digest, is not read again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def by(self, trust: Trust) -> set[str]:
        """Return what is pinned in the state of *trust*."""
        found: set[str] = set()
        releases = {pins_path(release): release for release in trust.releases()}
        for path, target in trust.find_all(releases).items():
            release, key = releases[path], (path, target.hashes["sha256"])
            if key not in self._known:
                labels = (label_of(pin.manifest) for pin in trust.pins(release).pins)
                self._known[key] = frozenset(label for label in labels if label is not None)
            found |= self._known[key]
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Signed:
    """All *paths* that builders signed in a state of these *versions*."""

    versions: Mapping[str, int]
    paths: tuple[str, ...]

    @classmethod
    def by(cls, trust: Trust, known: _Signed | None = None) -> _Signed:
        """Return what is signed in the state of *trust*: *known*, where that is of the same versions."""
        versions = {
            role: version
            for role, version in trust.versions().items()
            if role == Targets.type or family(role) == ARTIFACTS
        }
        if known is not None and known.versions == versions:
            return known
        return cls(versions=versions, paths=tuple(trust.entries(ARTIFACTS)))


def _leftovers(
    store: Store, pinned: set[str], signed: _Signed, known: Mapping[str, datetime], now: datetime
) -> Iterator[Leftover]:
    """Yield what no release pins, signed or not: an interrupted publish leaves unsigned files."""
    objects: dict[str, set[str]] = {}
    for path in signed.paths:
        if (label := label_of(path)) is not None and label not in pinned:
            objects.setdefault(label, set())
    for folder in FAMILIES:
        for path in store.list(f"{folder}/"):
            if (label := label_of(path)) is not None and label not in pinned:
                objects.setdefault(label, set()).add(path)
    for label, paths in sorted(objects.items()):
        size = sum(store.size(path) or 0 for path in paths)
        yield Leftover(
            label=label, objects=tuple(sorted(paths)), size=size, since=min(known.get(label, now), now)
        )


def _remove(  # noqa: PLR0913, PLR0917 - what is there, what goes, and what stays noted
    repository: Repository,
    signed: _Signed,
    pinned: _Pinned,
    due: Sequence[Leftover],
    waiting: Mapping[str, datetime],
    progress: Callable[[int, int], None],
) -> list[Leftover]:
    """Take the signatures of *due* away, then their objects; leave what was pinned meanwhile."""
    store = repository.store
    begun = begin(store)
    until = begun.until
    labels = {item.label for item in due}
    try:
        # Even where nothing signed goes, the new timestamp makes publishers look at the record again.
        repository.writer.swap(lambda trust: _unsigned(trust, signed, labels - pinned.by(trust)))
        kept = pinned.by(repository.trust)
        gone = [item for item in due if item.label not in kept]
        objects = [path for item in gone for path in item.objects]
        for count, path in enumerate(objects):
            until = renewed(store, begun.generation, until)
            store.delete(path)
            progress(count + 1, len(objects))
    except BaseException:
        # What is left has no signature any more, or still its objects: the next run finds both.
        update(store, begun.generation, until=over())
        raise
    update(store, begun.generation, until=over(), unpinned=waiting)
    return gone


def _unsigned(trust: Trust, signed: _Signed, labels: Collection[str]) -> Changes:
    """Return the metadata of artifacts without what belongs to *labels*."""
    changes: Changes = {}
    parent = expect(trust.signed(ARTIFACTS), Targets)
    own: Change | None = None
    for path in _Signed.by(trust, signed).paths:
        if label_of(path) not in labels:
            continue
        if path in parent.targets:  # from before there were bins
            own = own or Change(body=copy.deepcopy(parent), delegator=Targets.type)
            del own.body.targets[path]
            continue
        role, body, delegator = trust.responsible(path)
        change = changes.setdefault(role, Change(body=copy.deepcopy(body), delegator=delegator))
        change.body.targets.pop(path, None)
    return changes | ({ARTIFACTS: own} if own else {})
