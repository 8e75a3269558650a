"""Keys: thresholds, kinds, rotation. Who signs decides, and each key counts once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from tests.conformance.tuf_site import SIGNED, TufSite

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Client


class TestThreshold:
    def test_one_signature_too_few(self, client: Client, site: TufSite) -> None:
        site.root.roles["snapshot"].threshold = 3
        for _ in range(2):
            site.add_key("snapshot")
        site.publish("root", *SIGNED)
        assert client.refresh() == 0
        site.signers["snapshot"].popitem()
        site.publish(*SIGNED)
        assert client.refresh() == 1
        assert client.version("snapshot") == 2

    def test_more_signatures_asked_for_than_there_are_keys(self, client: Client, site: TufSite) -> None:
        for _ in range(4):
            site.add_key("snapshot")
        site.root.roles["snapshot"].threshold = 6
        site.publish("root", *SIGNED)
        assert client.refresh() == 1
        assert client.version("root") == 2
        assert client.version("snapshot") is None

    def test_a_key_that_signs_twice_counts_once(self, client: Client, site: TufSite) -> None:
        signer = site.add_key("snapshot")
        site.root.roles["snapshot"].threshold = 6
        site.publish("root", *SIGNED)
        document = json.loads(site.published["snapshot"].pop())
        again = [item for item in document["signatures"] if item["keyid"] == signer.public_key.keyid]
        document["signatures"] += again * 8
        site.published["snapshot"].append(json.dumps(document).encode())
        assert client.refresh() == 1
        assert client.version("snapshot") is None

    def test_an_identifier_twice_among_signatures_is_refused(self, client: Client, site: TufSite) -> None:
        document = json.loads(site.published["snapshot"].pop())
        document["signatures"].append(document["signatures"][0])
        site.published["snapshot"].append(json.dumps(document).encode())
        assert client.refresh() == 1
        assert client.version("snapshot") is None

    @pytest.mark.parametrize("wrong", ["ab" * 64, ""])
    def test_a_wrong_signature_beside_enough_right_ones(
        self, client: Client, site: TufSite, wrong: str
    ) -> None:
        first = next(iter(site.signers["timestamp"]))
        site.add_key("timestamp")
        site.publish("root", "timestamp")
        document = json.loads(site.published["timestamp"].pop())
        for item in document["signatures"]:
            if item["keyid"] == first:
                item["sig"] = wrong
        site.published["timestamp"].append(json.dumps(document).encode())
        assert client.refresh() == 0

    def test_hash_algorithms_of_identifiers_do_not_matter(self, client: Client, site: TufSite) -> None:
        key = site.root.keys[site.root.roles["snapshot"].keyids[0]]
        key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
        site.publish("root", *SIGNED)
        assert client.refresh() == 0
        assert client.version("snapshot") == 2


@pytest.mark.parametrize(
    "make",
    [
        CryptoSigner.generate_rsa,
        lambda: CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),
        CryptoSigner.generate_ecdsa,
        CryptoSigner.generate_ed25519,
    ],
    ids=["rsassa-pss", "rsa-pkcs1v15", "ecdsa", "ed25519"],
)
def test_kinds_of_keys(client: Client, site: TufSite, make: Callable[[], CryptoSigner]) -> None:
    signer = site.add_key("root", make())
    site.root.roles["root"].threshold += 1
    site.publish("root")
    assert client.refresh() == 0
    assert client.version("root") == 2
    site.publish("root")
    document = json.loads(site.published["root"].pop())
    other = json.loads(site.published["root"][-1])
    replaced = {item["keyid"]: item["sig"] for item in other["signatures"]}
    for item in document["signatures"]:
        if item["keyid"] == signer.public_key.keyid:
            item["sig"] = replaced[item["keyid"]]  # well formed, of another document
    site.published["root"].append(json.dumps(document).encode())
    assert client.refresh() == 1
    assert client.version("root") == 2


@dataclass(frozen=True)
class State:
    """Which of ten keys a version names, how many must sign, and which do. *good*: is it to be taken?"""

    keys: str
    threshold: int
    signed: str
    good: bool = True


ROOTS = {
    "1-of-1 rotated": [State("1", 1, "1"), State("2", 1, "21"), State("2", 1, "2")],
    "1-of-1 rotated, others sign too": [
        State("1", 1, "314"),
        State("2", 1, "3214"),
        State("2", 1, "324"),
    ],
    "3-of-5, by various signers": [
        State("01234", 3, "024"),
        State("01234", 3, "041"),
        State("01234", 3, "013"),
        State("01234", 3, "013"),
    ],
    "3-of-5, one rotated": [State("01234", 3, "024"), State("01345", 3, "041")],
    "3-of-5, one rotated in between": [
        State("01234", 3, "024"),
        State("01345", 3, "0245"),
        State("01345", 3, "045"),
    ],
    "3-of-5, all rotated": [
        State("01234", 3, "024"),
        State("56789", 3, "024567"),
        State("56789", 3, "567"),
    ],
    "threshold up, 1 to 2 of 3": [State("123", 1, "1"), State("123", 2, "12")],
    "threshold down, 2 to 1 of 3": [State("123", 2, "12"), State("123", 1, "12"), State("123", 1, "1")],
    "one more key and threshold": [State("1", 1, "1"), State("12", 2, "12")],
    "not by the old key": [State("1", 1, "1"), State("2", 1, "234", good=False)],
    "not by the new key": [State("1", 1, "1"), State("2", 1, "134", good=False)],
    "too few of the new keys": [State("01234", 3, "024"), State("01345", 3, "024", good=False)],
    "too few of the old keys": [State("01234", 3, "024"), State("01345", 3, "045", good=False)],
    "threshold up, not reached": [State("123", 1, "1"), State("123", 2, "2", good=False)],
    "threshold down, the old one not reached": [State("123", 2, "12"), State("123", 1, "1", good=False)],
}
OTHERS = {
    "rotated": State("2", 1, "2"),
    "others sign too": State("1", 1, "314"),
    "not by the new key": State("2", 1, "134", good=False),
    "one of three is no key of the role": State("01345", 3, "024", good=False),
    "one too few": State("01345", 3, "04", good=False),
    "first three": State("01234", 3, "024"),
    "second three": State("01234", 3, "041"),
    "third three": State("01234", 3, "013"),
    "fourth three": State("01234", 3, "123"),
    "fifth three": State("01234", 3, "234"),
}


def lay_keys(site: TufSite, role: str, state: State, signers: list[CryptoSigner]) -> None:
    site.root.roles[role].keyids.clear()
    site.signers[role].clear()
    site.root.roles[role].threshold = state.threshold
    for number in state.keys:
        site.add_key(role, signers[int(number)], signs=False)
    for number in state.signed:
        signer = signers[int(number)]
        site.signers[role][signer.public_key.keyid] = signer


@pytest.fixture(scope="module")
def signers() -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(10)]


@pytest.mark.parametrize("states", ROOTS.values(), ids=ROOTS)
def test_rotation_of_root(
    client: Client, site: TufSite, states: list[State], signers: list[CryptoSigner]
) -> None:
    site.begin_again("root")
    for state in states:
        lay_keys(site, "root", state, signers)
        site.publish("root")
    site.publish(*SIGNED)
    assert client.init(site.published["root"][0]) == 0
    good = states[-1].good
    assert client.refresh() == (0 if good else 1)
    expected = site.published["root"][-1 if good else -2]
    assert (client.metadata / "root.json").read_bytes() == expected


@pytest.mark.parametrize("state", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("role", SIGNED)
def test_rotation_of_other_roles(
    client: Client, site: TufSite, role: str, state: State, signers: list[CryptoSigner]
) -> None:
    assert client.refresh() == 0
    lay_keys(site, role, state, signers)
    site.publish("root", *SIGNED)
    assert client.refresh() == (0 if state.good else 1)
    if state.good:
        assert (client.metadata / f"{role}.json").read_bytes() == site.published[role][-1]
    else:
        assert client.version(role) == 1
