"""Showing to hosts what release managers signed elsewhere; for who holds the keys of snapshot and timestamp.

Nothing that a proposal says is taken on trust: the managers' signatures, that it follows the present state,
that it takes nothing away, and that builders signed what it pins are checked here, before anything is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from distributor.publishing.metadata_writer import Change, expect
from distributor.publishing.payload import store_document
from distributor.trust.gzipped import decompress
from distributor.trust.trust import RELEASES
from distributor.trust.tuf_api import Metadata, Targets
from manifests.channels import parse_channel_path
from manifests.contents import contents_path
from manifests.documents import sha256_bytes
from manifests.errors import InvalidInput, Refused, VerificationFailed
from manifests.pins import ReleasePins, pins_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributor.publishing.metadata_writer import Changes
    from distributor.publishing.repository import Repository
    from distributor.trust.trust import Trust
    from distributor.trust.tuf_api import TargetFile, VerificationResult
    from manifests.proposal import Proposal

_WHAT = "the proposal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """What hosts see now: releases, and moves of channels, by path. Empty where they did already."""

    paths: tuple[str, ...]


def forward(repository: Repository, proposal: Proposal, *, now: datetime | None = None) -> Forwarded:
    """Store what *proposal* holds and sign the state that shows it. Once more, it changes nothing.

    Raises VerificationFailed where too few release managers signed it, Refused where it does not follow the
    present state, InvalidInput for documents that it does not name.
    """
    signed = proposed_metadata(proposal)
    added: list[str] = []

    def changes(trust: Trust) -> Changes | None:
        added.clear()
        result = signatures_of(trust, signed)
        if not result.verified:
            raise VerificationFailed(
                f"{_WHAT} is not signed by the store's release managers "
                f"({len(result.signed)} of {result.threshold} signatures)"
            )
        paths = additions(trust, signed, proposal, now=now)
        if paths is None:
            return None
        added.extend(paths)
        for path, data in proposal.documents.items():
            store_document(repository.store, path, data)
        return {RELEASES: Change(body=signed.signed, delegator=Targets.type, signed=proposal.metadata)}

    repository.writer.swap(changes)
    return Forwarded(paths=tuple(added))


def proposed_metadata(proposal: Proposal) -> Metadata[Targets]:
    """Return what *proposal* makes of the role releases, unverified. Raises InvalidInput."""
    from tuf.api.serialization import DeserializationError

    try:
        metadata: Metadata[Any] = Metadata.from_bytes(proposal.metadata)
    except DeserializationError:
        raise InvalidInput(f"{_WHAT} holds no signed metadata") from None
    if not isinstance(metadata.signed, Targets):
        raise InvalidInput(f"{_WHAT} holds metadata of another kind: {metadata.signed.type}")
    return metadata


def signatures_of(trust: Trust, metadata: Metadata[Targets]) -> VerificationResult:
    """Return which of the store's release managers signed *metadata*, and whether that is enough."""
    targets = expect(trust.signed("targets"), Targets)
    return targets.get_verification_result(RELEASES, metadata.signed_bytes, metadata.signatures)


def additions(
    trust: Trust, metadata: Metadata[Targets], proposal: Proposal, *, now: datetime | None = None
) -> list[str] | None:
    """Return the paths that *metadata* of *proposal* adds to the state of *trust*; None: it is that state.

    All that it adds is checked, but for signatures. Raises as ``forward`` does.
    """
    present = expect(trust.signed(RELEASES), Targets)
    if metadata.signed.version == present.version and metadata.signed == present:
        return None
    if metadata.signed.expires <= (now or datetime.now(timezone.utc)):
        raise VerificationFailed(
            f"{_WHAT} expired at {metadata.signed.expires:%Y-%m-%d %H:%M} UTC; sign it anew"
        )
    paths = _additions(present, metadata.signed)
    _check_documents(trust, [metadata.signed.targets[path] for path in paths], proposal.documents)
    return paths


def _additions(present: Targets, proposed: Targets) -> list[str]:
    """Return what *proposed* newly names. Raises Refused where it takes away or alters anything."""
    stale = f"{_WHAT} does not follow the store's present state: somebody signed in between; sign it anew"
    if proposed.version <= present.version or proposed.delegations is not None:
        raise Refused(stale)
    moved = {parsed[0]: parsed[1] for path in proposed.targets if (parsed := parse_channel_path(path))}
    for path, target in present.targets.items():
        kept = proposed.targets.get(path)
        parsed = parse_channel_path(path)
        further = parsed is not None and moved.get(parsed[0], 0) > parsed[1]
        if kept != target and not (kept is None and further):
            raise Refused(stale)
    return sorted(path for path in proposed.targets if path not in present.targets)


def _check_documents(trust: Trust, targets: list[TargetFile], documents: Mapping[str, bytes]) -> None:
    """Check that *documents* are those that *targets* name, and that these mean what is published."""
    expected = set()
    for target in targets:
        path = target.path
        data = documents.get(path)
        if data is None or (len(data), sha256_bytes(data)) != (target.length, target.hashes.get("sha256")):
            raise InvalidInput(f"{_WHAT} lacks {path}, or holds other bytes than were signed")
        expected.add(path)
        if parse_channel_path(path) is not None:
            continue
        pins = ReleasePins.from_json(data, what=path)
        if path != pins_path(pins.release):
            raise InvalidInput(f"{_WHAT}: {path} is neither a release nor a channel")
        for pin in pins.pins:
            trust.manifest(pin)
        if pins.contents is not None:
            expected.add(_checked_contents(pins, documents))
    if foreign := sorted(set(documents) - expected):
        raise InvalidInput(f"{_WHAT} holds {', '.join(foreign[:3])}, which nobody signed")


def _checked_contents(pins: ReleasePins, documents: Mapping[str, bytes]) -> str:
    if pins.contents is None:
        raise AssertionError("the caller looked")
    path = contents_path(pins.release, pins.contents)
    data = documents.get(path)
    if data is None or sha256_bytes(decompress(data, what=path)) != pins.contents:
        raise InvalidInput(f"{_WHAT} lacks {path}, or holds other bytes than were signed")
    return path
