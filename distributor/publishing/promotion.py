"""Moving a channel to a release: signed, with who, when and why; back as well as forth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from distributor.publishing.metadata_writer import Change, expect
from distributor.publishing.payload import store_document, target_of
from distributor.trust.channels import channel_heads, channels
from distributor.trust.trust import RELEASES, Trust
from distributor.trust.tuf_api import Targets
from manifests.channels import Earlier, Move, channel_name, one_line
from manifests.documents import Sha256
from manifests.release_order import in_order

if TYPE_CHECKING:
    from distributor.publishing.metadata_writer import Changes
    from distributor.publishing.repository import Repository
    from manifests.pins import Pin, ReleasePins


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What a move changes for one service on one target: its pins, None where there is none."""

    service: str
    target: str
    before: Pin | None
    after: Pin | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """A move that was made, or would be; *changed* is false where the channel was there already.

    *barriers* are what releases say that the channel goes back across: service, release and words.
    """

    move: Move
    changed: bool
    differences: tuple[Difference, ...]
    barriers: tuple[tuple[str, str, str], ...]


def promote(  # noqa: PLR0913 - which channel, where to, and what is recorded
    repository: Repository,
    channel: str,
    release: str,
    *,
    who: str,
    why: str,
    now: datetime | None = None,
    dry_run: bool = False,
) -> Promotion:
    """Move *channel*, which may be new, to *release*; with *dry_run* only say what it would do.

    Where the channel means that release already nothing changes. Raises NotFound for a release that is
    not signed, InvalidInput, and what writing raises.
    """
    channel_name(channel)
    who, why = one_line(who, what="who"), one_line(why, what="why")
    when = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    found: list[Promotion] = []

    def changes(trust: Trust) -> Changes | None:
        pins = trust.pins(release)
        head = channel_heads(trust).get(channel)
        before = channels(trust)[channel] if head is not None else None
        if before is not None and before.release == release:
            found[:] = [Promotion(move=before, changed=False, differences=(), barriers=())]
            return None
        crossed = _crossed(trust, before, release)
        move = Move(
            channel=channel,
            number=before.number + 1 if before else 1,
            release=release,
            who=who,
            when=when,
            why=why,
            came_from=before.release if before else None,
            back=bool(crossed),
            earlier=Earlier(length=head.length, sha256=Sha256(head.hashes["sha256"])) if head else None,
        )
        found[:] = [
            Promotion(
                move=move,
                changed=True,
                differences=differences(trust.pins(before.release) if before else None, pins),
                barriers=_barriers(trust, crossed, pins),
            )
        ]
        if dry_run:
            return None
        data = move.to_json()
        store_document(repository.store, move.path, data)
        body = copy.deepcopy(expect(trust.signed(RELEASES), Targets))
        if before is not None:
            del body.targets[before.path]
        body.targets[move.path] = target_of(move.path, data)
        return {RELEASES: Change(body=body, delegator=Targets.type)}

    repository.writer.swap(changes)
    return found[0]


def differences(before: ReleasePins | None, after: ReleasePins) -> tuple[Difference, ...]:
    """Return what differs between two releases, by service and target."""
    old = {(pin.service, pin.target): pin for pin in before.pins} if before else {}
    new = {(pin.service, pin.target): pin for pin in after.pins}
    return tuple(
        Difference(service=key[0], target=key[1], before=old.get(key), after=new.get(key))
        for key in sorted(old.keys() | new.keys())
        if _artifact(old.get(key)) != _artifact(new.get(key))
    )


def _artifact(pin: Pin | None) -> str | None:
    return pin.sha256 if pin is not None else None


def _crossed(trust: Trust, before: Move | None, release: str) -> list[str]:
    """Return the releases that a move to *release* goes back across, the one that it leaves included.

    Those that the channel never meant count too: what they did to databases, the later ones did as well.
    """
    if before is None:
        return []
    ordered = in_order(trust.releases())
    return ordered[ordered.index(release) + 1 : ordered.index(before.release) + 1]


def _barriers(trust: Trust, crossed: list[str], after: ReleasePins) -> tuple[tuple[str, str, str], ...]:
    """Return the barriers of services that do not stay as they are."""
    staying = {(pin.service, pin.target): pin.sha256 for pin in after.pins}
    found: dict[tuple[str, str, str], None] = {}
    for release in crossed:
        pins = trust.pins(release)
        known: Mapping[str, str] | None = pins.barriers
        for pin in pins.pins:
            if staying.get((pin.service, pin.target)) == pin.sha256:
                continue
            barrier = known.get(pin.service) if known is not None else trust.manifest(pin).rollback_barrier
            if barrier:
                found[pin.service, release, barrier] = None
    return tuple(found)
