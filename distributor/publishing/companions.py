"""What stands beside an artifact in a store: its bill of materials, and its signed provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError

from distributor.publishing.payload import other_bytes, store_document, target_of
from distributor.trust.trust import ARTIFACTS
from distributor.trust.tuf_api import Targets
from distributor.trust.updater import family
from manifests.companions import (
    PAYLOAD_TYPE,
    check_sbom,
    check_statement,
    provenance_path,
    sbom_path,
)
from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import InvalidInput, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distributor.publishing.built_files import BuiltFiles
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from distributor.trust.tuf_api import Key, Signer, TargetFile
    from manifests.artifact import Artifact


def store_companions(
    store: Store, trust: Trust, artifacts: Iterable[BuiltFiles], signer_of: Callable[[str], Signer]
) -> dict[str, TargetFile]:
    """Bring what *artifacts* have beside them into *store*, and return what to sign, by path.

    What is signed there already stands: one bill and one provenance for each artifact. The provenance is
    signed by *signer_of* its path. Raises VerificationFailed for documents of another artifact, Refused
    where other bytes stand under these names.
    """
    signed = trust.entries(ARTIFACTS)
    keys = builders_keys(trust)
    stored = {}
    for built in artifacts:
        artifact = built.artifact
        path = sbom_path(artifact)
        if path not in signed and (data := built.sbom()) is not None:
            _check(data, artifact, path)
            store_document(store, path, data)
            stored[path] = target_of(path, data)
        path = provenance_path(artifact)
        if path not in signed and (data := built.statement()) is not None:
            _check(data, artifact, path)
            signer = signer_of(path)
            known = [signer.public_key, *keys]
            stored[path] = target_of(path, _store_provenance(store, artifact, data, signer, known))
    return stored


def builders_keys(trust: Trust) -> list[Key]:
    """Return the keys that may sign as builders, of all services or of one."""
    targets = trust.signed("targets")
    if not isinstance(targets, Targets) or targets.delegations is None or targets.delegations.roles is None:
        return []
    roles = [role for name, role in targets.delegations.roles.items() if family(name) == ARTIFACTS]
    keyids = dict.fromkeys(keyid for role in roles for keyid in role.keyids)
    return [targets.delegations.keys[keyid] for keyid in keyids]


def signed_statement(statement: bytes, signer: Signer) -> bytes:
    """Return *statement* in a DSSE envelope that *signer* signed."""
    envelope = Envelope(statement, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def verified_statement(data: bytes, artifact: Artifact, keys: Sequence[Key] | None, *, what: str) -> bytes:
    """Return the statement of *artifact* in the envelope *data*, signed by one of *keys*.

    Without *keys* the envelope's own signature is not asked for. Raises VerificationFailed for anything else.
    """
    try:
        envelope = Envelope.from_dict(parse_json(data, what=what))
        if keys is not None:
            envelope.verify(list(keys), 1)
        check_statement(envelope.payload, artifact, what=what)
    except (InvalidInput, VerificationError, FormatError, KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"{what}: it is not signed provenance of {artifact.stem}: {error}") from None
    return envelope.payload


def _store_provenance(
    store: Store, artifact: Artifact, statement: bytes, signer: Signer, keys: Sequence[Key]
) -> bytes:
    path = provenance_path(artifact)
    ours = signed_statement(statement, signer)
    if store.write_if_absent(path, ours):
        return ours
    # A publisher before us, or beside us, was as far as this. What a builder signed may stand.
    theirs = store.read(path, limit=MAX_DOCUMENT_BYTES)
    try:
        verified_statement(theirs, artifact, keys, what=path)
    except VerificationFailed:
        raise other_bytes(path, store) from None
    return theirs


def _check(data: bytes, artifact: Artifact, path: str) -> None:
    check = check_sbom if path == sbom_path(artifact) else check_statement
    try:
        check(data, artifact, what=path)
    except InvalidInput as error:
        raise VerificationFailed(f"{error}; build it again") from None
