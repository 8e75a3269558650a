"""The client workflow: what is asked for, in which order, and what is refused (TUF specification, 5)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.conformance.tuf_site import SIGNED, TOP, TufSite, versions

if TYPE_CHECKING:
    from tests.conformance.conftest import Client

BAD_SIGNATURE = "00" * 64


class TestBasics:
    def test_a_first_refresh_asks_in_order(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        assert versions(site.asked) == ["2.root", "timestamp", "1.snapshot", "1.targets"]
        assert client.trusted() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}

    def test_a_download_refreshes_first(self, client: Client, site: TufSite) -> None:
        assert client.download("nonexistent artifact") == 1
        assert versions(site.asked) == ["2.root", "timestamp", "1.snapshot", "1.targets"]
        assert client.trusted() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}

    def test_nothing_new_is_not_fetched_again(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        site.asked.clear()
        assert client.refresh() == 0
        assert versions(site.asked) == ["2.root", "timestamp"]

    def test_trusted_metadata_is_kept_byte_for_byte(self, client: Client, site: TufSite) -> None:
        for role in TOP:
            data = json.dumps(json.loads(site.published[role][0]), indent=3).encode()
            site.published[role][0] = data
        assert client.init(site.published["root"][0]) == 0
        assert client.refresh() == 0
        for role in TOP:
            assert (client.metadata / f"{role}.json").read_bytes() == site.published[role][0]

    def test_unknown_fields_are_part_of_what_is_signed(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        site.root.unrecognized_fields["custom"] = "value"
        site.root.keys[site.root.roles["root"].keyids[0]].unrecognized_fields["extra"] = {"a": 1}
        site.root.roles["root"].unrecognized_fields["another"] = ["value"]
        site.publish("root")
        assert client.refresh() == 0
        assert client.version("root") == 2

    def test_a_chain_of_roots_is_followed(self, client: Client, site: TufSite) -> None:
        for _ in range(40):
            site.publish("root")
        assert client.refresh() == 0
        assert client.version("root") == 41


class TestFirstTrust:
    def test_an_initial_root_that_is_no_root(self, client: Client, site: TufSite) -> None:
        root = json.loads(site.published["root"][0])
        del root["signed"]["version"]
        client.init(json.dumps(root).encode())
        assert client.refresh() == 1
        assert site.asked == []

    def test_an_initial_root_with_a_wrong_signature(self, client: Client, site: TufSite) -> None:
        root = json.loads(site.published["root"][0])
        root["signatures"][0]["sig"] = BAD_SIGNATURE
        client.init(json.dumps(root).encode())
        assert client.refresh() == 1
        assert site.asked == []

    def test_a_root_of_another_site(self, client: Client, site: TufSite) -> None:
        client.init(TufSite().published["root"][0])
        assert client.refresh() == 1
        assert "timestamp" not in client.trusted()

    @pytest.mark.parametrize(
        ("role", "trusted"),
        [
            ("root", {"root": 1}),
            ("timestamp", {"root": 1}),
            ("snapshot", {"root": 1, "timestamp": 1}),
            ("targets", {"root": 1, "snapshot": 1, "timestamp": 1}),
        ],
    )
    def test_an_unsigned_role_ends_the_refresh(
        self, client: Client, site: TufSite, role: str, trusted: dict[str, int]
    ) -> None:
        for each in SIGNED:
            site.begin_again(each)
        site.signers[role].clear()
        site.publish(*(["root"] if role == "root" else []), *SIGNED)
        assert client.refresh() == 1
        assert client.trusted() == trusted


class TestMixAndMatch:
    def test_a_timestamp_of_the_same_version_is_not_another_one(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        before = (client.metadata / "timestamp.json").read_bytes()
        site.timestamp.snapshot_meta.version = 100
        site.begin_again("timestamp")
        site.publish("timestamp")
        assert client.refresh() == 0
        assert versions(site.asked)[-1] == "timestamp"
        assert (client.metadata / "timestamp.json").read_bytes() == before

    def test_targets_that_no_snapshot_names_are_not_fetched(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        site.publish("targets")
        assert client.refresh() == 0
        assert client.version("targets") == 1
        assert versions(site.asked)[-1] == "timestamp"

    @pytest.mark.parametrize("role", ["snapshot", "targets"])
    def test_a_role_of_another_version_than_was_announced(
        self, client: Client, site: TufSite, role: str
    ) -> None:
        assert client.refresh() == 0
        site.publish(*SIGNED)
        site.published[role][1] = site.published[role][0]
        assert client.refresh() == 1
        assert client.version(role) == 1

    @pytest.mark.parametrize("role", ["snapshot", "targets"])
    def test_hashes_and_lengths_of_metadata(self, client: Client, site: TufSite, role: str) -> None:
        site.hashed_metadata = True
        site.publish(*SIGNED)
        assert client.refresh() == 0
        site.publish("targets")
        if role == "targets":
            site.snapshot.meta["targets.json"].hashes = {"sha256": "46" * 32}
        site.publish("snapshot")
        if role == "snapshot":
            site.timestamp.snapshot_meta.hashes = {"sha256": "46" * 32}
        site.publish("timestamp")
        assert client.refresh() == 1
        assert client.version("timestamp") == 3
        assert client.version("targets") == 2
        assert client.version("snapshot") == (3 if role == "targets" else 2)

    @pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
    def test_endless_data_is_cut_off(self, client: Client, site: TufSite, role: str) -> None:
        assert client.refresh() == 0
        before = client.trusted()
        site.publish("root", *SIGNED)
        site.published[role][1] += b" " * 64 * 1024 * 1024
        assert client.refresh() == 1
        assert client.trusted()[role] == before[role]

    @pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
    @pytest.mark.parametrize("data", [b"", b"{", b'{"signed": {}, "signatures": []}', b"\xff\xfe"])
    def test_what_is_no_metadata(self, client: Client, site: TufSite, role: str, data: bytes) -> None:
        assert client.refresh() == 0
        site.publish("root", *SIGNED)
        site.published[role][1] = data
        assert client.refresh() == 1
        assert client.version(role) == 1

    def test_another_role_in_the_place_of_one(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        site.publish(*SIGNED)
        site.published["timestamp"].append(site.published["snapshot"][1])
        assert client.refresh() == 1
        assert client.version("timestamp") == 1


class TestExpiry:
    def test_an_expired_root_is_kept_and_ends_the_refresh(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        site.root.expires = site.now - timedelta(days=1)
        site.publish("root", *SIGNED)
        assert client.refresh() == 1
        assert client.trusted() == {"root": 2, "snapshot": 1, "targets": 1, "timestamp": 1}

    def test_an_expired_root_in_the_middle_of_a_chain(self, client: Client, site: TufSite) -> None:
        site.root.expires = site.now - timedelta(days=1)
        site.publish("root")
        site.root.expires = site.expires
        site.publish("root")
        assert client.refresh() == 0
        assert client.version("root") == 3

    @pytest.mark.parametrize("role", SIGNED)
    def test_an_expired_role_is_not_taken(self, client: Client, site: TufSite, role: str) -> None:
        assert client.refresh() == 0
        site.roles[role].signed.expires = site.now - timedelta(days=5)
        site.publish(*SIGNED)
        assert client.refresh() == 1
        assert client.version("targets") == 1
        assert client.version("timestamp") == (1 if role == "timestamp" else 2)

    def test_what_expired_here_still_leads_to_what_is_new(self, client: Client, site: TufSite) -> None:
        site.timestamp.expires = site.now + timedelta(days=7)
        site.publish("timestamp")
        assert client.refresh() == 0
        site.publish("targets", "snapshot")
        site.timestamp.expires = site.now + timedelta(days=21)
        site.publish("timestamp")
        assert client.refresh(at=site.now + timedelta(days=18)) == 0
        assert client.trusted() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 3}

    def test_a_frozen_site_is_refused(self, client: Client, site: TufSite) -> None:
        assert client.refresh() == 0
        assert client.refresh(at=site.now + timedelta(days=31)) == 1

    def test_an_expired_snapshot_here_does_not_hide_a_rollback(self, client: Client, site: TufSite) -> None:
        site.snapshot.expires = site.now + timedelta(days=7)
        site.publish(*SIGNED)
        assert client.refresh() == 0
        site.begin_again("targets")
        site.snapshot.expires = site.now + timedelta(days=25)
        site.publish("targets", "snapshot", "timestamp")
        assert client.refresh(at=site.now + timedelta(days=18)) == 1
        assert client.version("targets") == 2


class TestRollback:
    def test_of_the_timestamp(self, client: Client, site: TufSite) -> None:
        site.publish("timestamp")
        assert client.refresh() == 0
        site.begin_again("timestamp")
        site.publish("timestamp")
        assert client.refresh() == 1
        assert client.version("timestamp") == 2
        assert versions(site.asked)[-1] == "timestamp"

    @pytest.mark.parametrize("hashed", [False, True])
    def test_of_the_snapshot(self, client: Client, site: TufSite, hashed: bool) -> None:
        site.hashed_metadata = hashed
        site.publish("snapshot", "timestamp")
        assert client.refresh() == 0
        site.begin_again("snapshot")
        site.publish("snapshot", "timestamp")
        assert client.refresh() == 1
        assert client.trusted() == {"root": 1, "snapshot": 2, "targets": 1, "timestamp": 2}
        assert versions(site.asked)[-1] == "timestamp"

    @pytest.mark.parametrize("hashed", [False, True])
    def test_of_targets(self, client: Client, site: TufSite, hashed: bool) -> None:
        site.hashed_metadata = hashed
        site.publish(*SIGNED)
        assert client.refresh() == 0
        site.begin_again("targets")
        site.publish(*SIGNED)
        assert client.refresh() == 1
        assert client.version("snapshot") == 2
        assert client.version("targets") == 2

    def test_a_role_may_not_vanish_from_the_snapshot(self, client: Client, site: TufSite) -> None:
        site.delegate("targets", "delegated", ["delegated/*"])
        site.publish("delegated", *SIGNED)
        assert client.refresh() == 0
        del site.snapshot.meta["delegated.json"]
        site.publish("snapshot", "timestamp")
        assert client.refresh() == 1
        assert client.version("snapshot") == 2

    def test_of_root(self, client: Client, site: TufSite) -> None:
        site.publish("root")
        assert client.refresh() == 0
        site.published["root"].append(site.published["root"][0])
        assert client.refresh() == 1
        assert client.version("root") == 2


class TestFastForward:
    """A stolen key published huge versions: rotating the key takes them back."""

    def test_of_the_timestamp(self, client: Client, site: TufSite) -> None:
        for _ in range(99):
            site.publish("timestamp")
        assert client.refresh() == 0
        assert client.version("timestamp") == 100
        site.replace_keys("timestamp")
        site.begin_again("timestamp")
        site.publish("root", "timestamp")
        assert client.refresh() == 0
        assert client.version("timestamp") == 1

    def test_of_the_snapshot(self, client: Client, site: TufSite) -> None:
        for _ in range(99):
            site.publish("snapshot")
        site.publish("timestamp")
        assert client.refresh() == 0
        assert client.version("snapshot") == 100
        site.replace_keys("snapshot")
        site.replace_keys("timestamp")
        site.begin_again("snapshot")
        site.publish("root", "targets", "snapshot", "timestamp")
        assert client.refresh() == 0
        assert client.version("snapshot") == 1

    def test_of_targets(self, client: Client, site: TufSite) -> None:
        site.delegate("targets", "delegated", ["delegated/*"])
        site.publish("delegated")
        for _ in range(99):
            site.publish("targets")
        site.publish("snapshot", "timestamp")
        assert client.refresh() == 0
        assert client.version("targets") == 100
        site.replace_keys("snapshot")
        site.begin_again("targets")
        del site.snapshot.meta["delegated.json"]
        site.publish("root", "targets", "snapshot", "timestamp")
        assert client.refresh() == 0
        assert client.version("targets") == 1
