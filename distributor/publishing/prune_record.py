"""What a store says of its own pruning: since when what is unpinned, and whether somebody removes right now.

Publishers and whoever prunes keep out of each other's way by this object and the timestamp:

* who prunes first says so here (a new generation, and until when), then writes a timestamp, then removes;
* who publishes reads the generation, stores payload, and reads it again in each attempt to sign. An attempt
  that began before that timestamp fails by compare and swap; one that begins after it sees the generation,
  waits until the removal is over, and stores its payload again.

So nothing is signed whose payload was removed. A killed prune holds publishers up until its time is over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import InvalidInput, Locked
from manifests.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributor.stores.interface import WriteStore

RECORD = "prune.json"
LEASE = timedelta(minutes=2)
FORMAT = "1.1"
_ATTEMPTS = 20
_NEVER = datetime.fromtimestamp(0, timezone.utc)


class PrunedMeanwhile(Locked):
    """A removal is going on, or went on since the payload was stored: store it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneRecord:
    """The record: *generation* counts removals, *until* is when the present one ends at the latest.

    *unpinned* says of each artifact's label when it was first seen without a release that pins it,
    *snapshots* of a few versions of the snapshot when they were first seen to be the present one.
    """

    generation: int = 0
    until: datetime = _NEVER
    unpinned: Mapping[str, datetime] = field(default_factory=dict)
    snapshots: Mapping[int, datetime] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the canonical JSON of this record."""
        return canonical_json(
            {
                "format": FORMAT,
                "generation": self.generation,
                "until": self.until.isoformat(),
                "unpinned": {label: {"since": since.isoformat()} for label, since in self.unpinned.items()},
                "snapshots": {
                    str(number): {"since": when.isoformat()} for number, when in self.snapshots.items()
                },
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> PruneRecord:
        """Read a record. Raises InvalidInput naming the field."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(1)
        return cls(
            generation=top.count("generation"),
            until=_moment(top, "until"),
            unpinned={label: _moment(item, "since") for label, item in top.object("unpinned").items()},
            snapshots={
                int(number): _moment(item, "since")
                for number, item in top.object("snapshots", required=False).items()
                if number.isdecimal()
            },
        )


def _moment(fields: Fields, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(fields.text(name))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"{fields.where}.{name}: not a time with its zone")
    return moment


def read_record(store: WriteStore) -> tuple[PruneRecord, str | None]:
    """Return *store*'s record and the token of its state; an empty one where nothing was pruned yet."""
    found = store.read_versioned(RECORD, limit=MAX_DOCUMENT_BYTES)
    if found is None:
        return PruneRecord(), None
    return PruneRecord.from_json(found[0], what=f"{RECORD} in {store.location}"), found[1]


def settled_generation(store: WriteStore) -> int:
    """Return the generation once no removal is going on. Raises PrunedMeanwhile where that takes too long."""
    deadline = time.monotonic() + 2 * LEASE.total_seconds()
    while True:
        record, _ = read_record(store)
        if record.until <= datetime.now(timezone.utc):
            return record.generation
        if time.monotonic() > deadline:
            raise PrunedMeanwhile(f"{store.location} is being pruned; try again when that is done")
        time.sleep(0.5)


def expect_generation(store: WriteStore, generation: int) -> None:
    """Raise PrunedMeanwhile unless nothing was removed since *generation*, nor is being removed."""
    record, _ = read_record(store)
    if record.generation != generation or record.until > datetime.now(timezone.utc):
        raise PrunedMeanwhile(f"{store.location} was pruned meanwhile, again and again; try again")


def begin(store: WriteStore) -> PruneRecord:
    """Say that a removal begins, and return the record that says so.

    Raises Locked where somebody else removes.
    """
    for _ in range(_ATTEMPTS):
        record, version = read_record(store)
        now = datetime.now(timezone.utc)
        if record.until > now:
            raise Locked(
                f"{store.location} is being pruned by somebody else until {record.until:%H:%M:%S} UTC"
            )
        begun = replace(record, generation=record.generation + 1, until=now + LEASE)
        if store.replace_if_unchanged(RECORD, begun.to_json(), version):
            return begun
    raise Locked(f"others write {RECORD} of {store.location} all the time; try again")


def update(
    store: WriteStore,
    generation: int | None,
    *,
    until: datetime,
    unpinned: Mapping[str, datetime] | None = None,
    snapshots: Mapping[int, datetime] | None = None,
) -> None:
    """Write *until*, *unpinned* and *snapshots* where given, into the record of *generation*.

    Without one nobody removes; where somebody does, nothing is written.
    Raises Locked where somebody else took over: then nothing more may be removed.
    """
    for _ in range(_ATTEMPTS):
        record, version = read_record(store)
        if generation is not None and record.generation != generation:
            raise Locked(f"{store.location} is being pruned by somebody else; this took too long")
        if generation is None and record.until > datetime.now(timezone.utc):
            return
        wanted = replace(
            record,
            until=until,
            unpinned=record.unpinned if unpinned is None else unpinned,
            snapshots=record.snapshots if snapshots is None else snapshots,
        )
        if wanted == record or store.replace_if_unchanged(RECORD, wanted.to_json(), version):
            return
    raise Locked(f"others write {RECORD} of {store.location} all the time; try again")


def renewed(store: WriteStore, generation: int, until: datetime) -> datetime:
    """Return until when the removal of *generation* may go on, which is said again in time.

    Raises Locked where somebody else took over.
    """
    now = datetime.now(timezone.utc)
    if until - now > LEASE / 2:
        return until
    update(store, generation, until=now + LEASE)
    return now + LEASE


def over() -> datetime:
    """Return a time at which every removal is over."""
    return _NEVER
