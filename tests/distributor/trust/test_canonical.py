"""Signed bytes are python-tuf's own, however they are made; what it refuses is refused."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.serialization import SerializationError

from distributor.publishing.key_files import generate_key
from distributor.trust.canonical import canonical, file_bytes, load_verified, signed_bytes
from distributor.trust.roles import new_root, new_targets, sign
from distributor.trust.tuf_api import CryptoSigner, Metadata, Root, Snapshot, TargetFile, Targets

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TARGETS = st.dictionaries(
    st.text(min_size=1), st.builds(TargetFile, st.integers(0), st.just({"sha256": "a" * 64}), st.text())
)


@pytest.fixture(scope="module")
def signer() -> CryptoSigner:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return CryptoSigner(load_pem_private_key(generate_key(), None))


@given(st.dictionaries(st.text(), VALUES, max_size=4))
@example({'a"b': "\\", "b": "\n\x00\x7f", "c": "\u2028é", "d": ":1.5", "e": [":Infinity", "[-1e5", "N"]})
def test_it_is_what_the_library_writes(document: dict[str, Any]) -> None:
    text = encode_canonical(document)
    assert text is not None
    try:
        wanted = text.encode()
    except UnicodeEncodeError:
        with pytest.raises(SerializationError):
            canonical(document)
    else:
        assert canonical(document) == wanted


@given(
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.floats(),
    st.sampled_from([lambda x: x, lambda x: [x], lambda x: [1, x], lambda x: {"a": [{"b": x}]}]),
)
def test_fractions_are_refused(document: dict[str, Any], fraction: float, around: Any) -> None:
    document["fraction"] = around(fraction)
    with pytest.raises(SerializationError):
        canonical(document)


@given(TARGETS)
@example({"é": TargetFile(1, {"sha256": "a" * 64}, "é")})
@example({"a\x01b": TargetFile(1, {"sha256": "a" * 64}, "a\x01b")})
@example({'a"b': TargetFile(1, {"sha256": "a" * 64}, 'a"b')})
def test_files_are_what_the_library_writes(targets: dict[str, TargetFile]) -> None:
    metadata = Metadata(Targets(targets=targets, expires=NOW))
    assert signed_bytes(metadata.signed) == metadata.signed_bytes
    assert file_bytes(metadata, metadata.signed_bytes) == metadata.to_bytes()
    metadata.unrecognized_fields["more"] = 1
    assert file_bytes(metadata, metadata.signed_bytes) == metadata.to_bytes()


def test_what_is_loaded_is_verified(signer: CryptoSigner) -> None:
    root = new_root({role: [signer] for role in ("root", "targets", "snapshot", "timestamp")}, NOW)
    targets = new_targets({"artifacts": [signer], "releases": [signer]}, NOW)
    data = sign("targets", copy.deepcopy(targets), [signer], root)
    signed, payload, signatures = load_verified(Targets, data, root, "targets")
    assert (signed, payload) == (targets, Metadata(targets).signed_bytes)
    assert list(signatures) == [signer.public_key.keyid]
    assert load_verified(Targets, data)[0] == targets
    with pytest.raises(RepositoryError, match="Expected 'snapshot', got 'targets'"):
        load_verified(Snapshot, data, root)
    for key, value in (("version", 2), ("expires", "2036-01-01T00:00:00Z"), ("more", 1)):
        altered = json.loads(data)
        altered["signed"][key] = value
        with pytest.raises(UnsignedMetadataError):
            load_verified(Targets, json.dumps(altered).encode(), root, "targets")
    stranger = Root(version=1, expires=NOW)
    with pytest.raises(RepositoryError):
        load_verified(Targets, data, stranger, "targets")
