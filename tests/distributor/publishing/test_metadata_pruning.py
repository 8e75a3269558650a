"""Replaced metadata goes after the time of grace; what a reader in mid-refresh needs stays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from distributor.publishing.frozen_store import FrozenStore
from distributor.publishing.key_rotation import rotate_key
from distributor.publishing.metadata_pruning import KEPT, observed, superseded
from distributor.publishing.prune_record import read_record
from distributor.publishing.pruning import prune
from distributor.trust.roles import metadata_path
from distributor.trust.trust import Trust
from tests.distributor.artifacts import Site, build_artifact

DAY = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store of five releases; each publish and each pin wrote a snapshot."""
    site = Site(tmp_path)
    for number in range(5):
        built = build_artifact(site.build, version=f"{number}.0")
        site.publish(built)
        site.pin(f"{number}.0", built)
    return site


def metadata(site: Site) -> set[str]:
    return set(site.store.list("metadata/"))


def versions(site: Site, role: str) -> list[int]:
    names = (path.rpartition("/")[2].split(".", 1) for path in metadata(site))
    return sorted(int(number) for number, rest in names if rest == f"{role}.json")


def age(site: Site, by: timedelta) -> None:
    """Let all that the record knows have been seen earlier."""
    path = site.path("prune.json")
    record = json.loads(path.read_text())
    for known in record["snapshots"].values():
        known["since"] = (datetime.fromisoformat(known["since"]) - by).isoformat()
    path.write_text(json.dumps(record))


def expect_whole(site: Site, name: str) -> None:
    trust = site.refreshed(name)
    for release in trust.releases():
        for pin in trust.pins(release).pins:
            assert trust.manifest(pin).version == pin.version
    assert trust.bins("artifacts")


def test_at_once_the_last_two_stay_and_every_root(site: Site) -> None:
    before = metadata(site)
    present = site.newest("snapshot")
    assert prune(site.repository(), grace=timedelta(0), dry_run=True).metadata
    assert metadata(site) == before
    done = prune(site.repository(), grace=timedelta(0))
    assert set(done.metadata) == before - metadata(site)
    assert versions(site, "snapshot") == [present - 2, present - 1, present]
    assert len(versions(site, "releases")) == KEPT + 1
    assert versions(site, "root") == versions(site, "targets") == [1]
    expect_whole(site, "afterwards")
    assert prune(site.repository(), grace=timedelta(0)).metadata == ()


def test_a_reader_in_mid_refresh_finds_what_it_was_told(site: Site) -> None:
    timestamp = site.path("metadata/timestamp.json").read_bytes()
    site.pin("9.0", build_artifact(site.build, version="0.0"))
    prune(site.repository(), grace=timedelta(0))
    trust = Trust(FrozenStore(site.store, timestamp), site.directory / "slow", site.root)
    trust.refresh()
    assert trust.releases() == [f"{number}.0" for number in range(5)]
    assert all(trust.manifest(pin) for name in trust.releases() for pin in trust.pins(name).pins)


def test_what_was_replaced_waits_for_the_time_of_grace(site: Site) -> None:
    assert prune(site.repository(), grace=7 * DAY).metadata == ()
    seen = site.newest("snapshot")
    for number in range(4):
        site.pin(f"9.{number}", build_artifact(site.build, version="0.0"))
    age(site, 6 * DAY)
    assert prune(site.repository(), grace=7 * DAY).metadata == ()
    age(site, DAY)
    gone = prune(site.repository(), grace=7 * DAY).metadata
    assert metadata_path("snapshot", seen - 1) in gone
    # Since it was seen it is known until when it was the present one; of what came later nothing is known.
    assert versions(site, "snapshot") == list(range(seen, site.newest("snapshot") + 1))
    expect_whole(site, "afterwards")


def test_a_record_from_before_says_nothing_of_metadata(site: Site) -> None:
    path = site.path("prune.json")
    prune(site.repository(), grace=7 * DAY)
    record = json.loads(path.read_text())
    del record["snapshots"]
    record["format"] = "1.0"
    path.write_text(json.dumps(record))
    assert prune(site.repository(), grace=7 * DAY).metadata == ()
    assert list(read_record(site.store)[0].snapshots) == [site.newest("snapshot")]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"signed": {"_type": "snapshot"}}'])
def test_an_old_snapshot_that_cannot_be_read_removes_nothing(site: Site, damage: bytes) -> None:
    now = datetime.now(timezone.utc)
    site.path(metadata_path("snapshot", 3)).write_bytes(damage)
    assert list(superseded(site.store, site.refreshed(), {3: now - DAY}, now, DAY)) == []


def test_an_old_snapshot_that_lies_removes_nothing_of_the_present_state(site: Site) -> None:
    now = datetime.now(timezone.utc)
    path = site.path(metadata_path("snapshot", 3))
    lie = json.loads(path.read_text())
    for named in lie["signed"]["meta"].values():
        named["version"] = 1000
    path.write_text(json.dumps(lie))
    trust = site.refreshed()
    gone = set(superseded(site.store, trust, {3: now - DAY}, now, DAY))
    assert gone
    assert not gone & {metadata_path(role, version) for role, version in trust.versions().items()}


def test_of_what_was_seen_only_what_may_matter_is_remembered(site: Site) -> None:
    now = datetime.now(timezone.utc)
    trust = site.refreshed()
    present = site.newest("snapshot")
    known = {1: now - 9 * DAY, 2: now - 8 * DAY, 3: now - DAY, present + 5: now}
    assert observed(known, trust, now, 7 * DAY) == {2: now - 8 * DAY, 3: now - DAY, present: now}


def test_every_targets_stays_for_the_keys_in_it(site: Site) -> None:
    for _ in range(3):
        rotate_key(site.store, site.keys, "artifacts", keyid=None, now=datetime.now(timezone.utc))
    prune(site.repository(), grace=timedelta(0))
    assert versions(site, "targets") == [1, 2, 3, 4]
    assert len(versions(site, "artifacts")) == KEPT + 1
    expect_whole(site, "afterwards")
