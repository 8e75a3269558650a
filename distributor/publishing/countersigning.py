"""A further manager's signature on what another one signed, where several must sign what releases mean.

The second manager trusts the first one's file no more than who forwards it does: that it follows the
store's present state, takes nothing away and pins what builders signed is checked here as well, and the
signature is given to the very bytes that were looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distributor.publishing.forwarding import additions, proposed_metadata, signatures_of
from distributor.trust.canonical import signed_bytes
from distributor.trust.roles import add_signatures
from distributor.trust.trust import RELEASES
from distributor.trust.tuf_api import Targets
from manifests.channels import Move, parse_channel_path
from manifests.errors import Refused, VerificationFailed
from manifests.pins import ReleasePins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributor.trust.trust import Trust
    from distributor.trust.tuf_api import Signer
    from manifests.proposal import Proposal


@dataclass(frozen=True, kw_only=True, slots=True)
class Reviewed:
    """A proposal that may be signed: the releases it pins, the moves it makes, and how many signed so far."""

    releases: tuple[ReleasePins, ...]
    moves: tuple[Move, ...]
    signed: int
    threshold: int


def review(trust: Trust, proposal: Proposal) -> Reviewed:
    """Return what *proposal* adds to the state of *trust*, having checked all but who has to sign yet.

    Raises VerificationFailed where no release manager of the store signed it, Refused where it does not
    follow the present state or is there already, InvalidInput for documents that it does not name.
    """
    metadata = proposed_metadata(proposal)
    result = signatures_of(trust, metadata)
    if not result.signed:
        raise VerificationFailed("no release manager of the store signed the proposal")
    paths = additions(trust, metadata, proposal)
    if paths is None:
        raise Refused("hosts see this already: there is nothing to sign")
    documents = {path: proposal.documents[path] for path in paths}
    return Reviewed(
        releases=tuple(
            ReleasePins.from_json(data, what=path)
            for path, data in documents.items()
            if parse_channel_path(path) is None
        ),
        moves=tuple(
            Move.from_json(data, what=path)
            for path, data in documents.items()
            if parse_channel_path(path) is not None
        ),
        signed=len(result.signed),
        threshold=result.threshold,
    )


def countersign(trust: Trust, proposal: Proposal, signers: Sequence[Signer]) -> tuple[Proposal, Reviewed]:
    """Return *proposal* with the signatures of *signers* as well, and how many signed it now.

    Raises as ``review`` does, and Refused where none of *signers* counts in the store.
    """
    review(trust, proposal)
    metadata = proposed_metadata(proposal)
    targets = trust.signed(Targets.type)
    if not isinstance(targets, Targets):
        raise TypeError("targets are none")
    payload = signed_bytes(metadata.signed)
    if not add_signatures(metadata, RELEASES, signers, targets, payload=payload):
        raise Refused("no key here is one of the store's release managers'; 'venvoy keys status' lists those")
    signed = replace(proposal, metadata=metadata.to_bytes())
    return signed, review(trust, signed)
