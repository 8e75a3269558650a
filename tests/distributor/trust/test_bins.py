"""Hashed bins: they come with what they sign, and are held to signatures and versions like all else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from distributor.trust.roles import bins_of, meta_file
from distributor.trust.trust import Trust
from manifests.documents import digest_of
from manifests.errors import NotFound, StoreUnavailable, VerificationFailed
from manifests.naming import artifact_stem
from tests.distributor.artifacts import TARGET, Site, build_artifact

BINS = bins_of("artifacts", ["-"], 1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    built = build_artifact(site.build)
    site.publish(built)
    site.pin("1", built)
    return site


def bin_of(built: Any) -> str:
    return BINS.get_role_for_target(built.artifact.manifest_path)


def neighbour(site: Site, built: Any) -> Any:
    """Return another artifact that the same bin signs."""
    for number in itertools.count():
        version, content = f"33.0.{number}", b"another"
        inputs = {"service": "nova", "version": version, "target": TARGET, "content": str(content)}
        path = f"artifacts/nova/{artifact_stem('nova', version, TARGET, digest_of(inputs))}.json.gz"
        if BINS.get_role_for_target(path) == bin_of(built):
            other = build_artifact(site.directory / "more", "nova", version, content)
            assert bin_of(other) == bin_of(built)
            return other
    raise AssertionError


def test_a_bin_comes_with_its_first_entry(site: Site) -> None:
    names = {path.name for path in site.path("metadata").iterdir()}
    built = build_artifact(site.build)
    assert {name for name in names if ".bin-" in name} == {f"1.{bin_of(built)}.json"}
    assert "2.artifacts.json" not in names  # it delegates, and changes with keys only
    trust = site.refreshed()
    assert set(trust.entries("artifacts")) == {built.artifact.manifest_path}
    assert "artifacts/nova/nova-1-x.json.gz" not in trust.entries("artifacts")
    with pytest.raises(NotFound, match="is not published"):
        trust.published("artifacts/nova/nova-1-x.json.gz")


def test_the_snapshot_holds_a_version_of_each_bin_and_no_more(site: Site) -> None:
    meta = site.refreshed().signed("snapshot").meta
    entry = meta[f"{bin_of(build_artifact(site.build))}.json"]
    assert (entry.version, entry.length, entry.hashes) == (1, None, None)
    assert meta["releases.json"].hashes is not None


def test_a_store_from_before_bins_is_read_and_gets_them_when_something_is_added(tmp_path: Path) -> None:
    site = Site(tmp_path)
    old = build_artifact(site.build)
    site.publish(old)
    entries = dict(site.refreshed("builder").entries("artifacts"))

    def flat(signed: Any) -> None:
        signed.delegations = None
        signed.targets = entries

    site.forge("artifacts", flat)
    site.pin("1", old)
    assert site.refreshed().manifest(site.refreshed().pins("1").pins[0]) == old.artifact
    new = build_artifact(site.build, "nova", "33.0.0")
    assert site.publish(old, new).published == (new.artifact.manifest_path,)
    site.pin("2", old, new)
    trust = site.refreshed()
    assert [trust.manifest(pin) for pin in trust.pins("2").pins] == [old.artifact, new.artifact]
    assert len(trust.entries("artifacts")) == 2
    assert site.newest(bin_of(new)) == 1


@pytest.mark.parametrize("key", ["releases", "snapshot", "targets"])
def test_a_bin_that_builders_did_not_sign_is_refused(site: Site, key: str) -> None:
    role = bin_of(build_artifact(site.build))
    site.forge(role, lambda signed: None, key=key)
    trust = site.refreshed()
    with pytest.raises(VerificationFailed, match="too few valid signatures"):
        trust.manifest(trust.pins("1").pins[0])


def test_an_older_bin_in_a_newer_state_is_refused(site: Site) -> None:
    built = build_artifact(site.build)
    role = bin_of(built)
    before = site.path(f"metadata/1.{role}.json").read_bytes()
    site.publish(neighbour(site, built))
    assert site.newest(role) == 2
    site.path(f"metadata/2.{role}.json").write_bytes(before)
    trust = site.refreshed()
    with pytest.raises(VerificationFailed, match="rollback"):
        trust.manifest(trust.pins("1").pins[0])


def test_the_online_keys_cannot_take_a_bin_back(site: Site) -> None:
    built = build_artifact(site.build)
    role = bin_of(built)
    site.publish(neighbour(site, built))
    site.refreshed()

    def roll_back(snapshot: Any) -> None:
        snapshot.meta[f"{role}.json"] = meta_file(1, b"", role=role)

    site.forge("snapshot", roll_back)
    with pytest.raises(VerificationFailed, match="rollback"):
        site.refreshed()


def test_a_missing_bin_is_an_incomplete_store_not_an_empty_bin(site: Site) -> None:
    site.path(f"metadata/1.{bin_of(build_artifact(site.build))}.json").unlink()
    trust = site.refreshed()
    with pytest.raises((NotFound, StoreUnavailable), match="incomplete"):
        trust.manifest(trust.pins("1").pins[0])


def test_a_damaged_bin_in_the_cache_is_fetched_again(site: Site) -> None:
    trust = site.refreshed()
    pin = trust.pins("1").pins[0]
    trust.manifest(pin)
    path = trust.directory / f"{bin_of(build_artifact(site.build))}.json"
    for damage in (b"", b"{}", b"\0" * 100):
        path.write_bytes(damage)
        assert site.refreshed().manifest(pin).service == "keystone"


def test_what_was_verified_stays_so_when_its_bin_has_grown_since(site: Site) -> None:
    """The bin that this host has is older than the snapshot says, and the store is down."""
    built = build_artifact(site.build)
    trust = site.refreshed()
    pin = trust.pins("1").pins[0]
    trust.manifest(pin)
    site.publish(neighbour(site, built))
    site.refreshed()
    remembered = Trust.remembered(site.store.location, site.directory / "host", site.root)
    remembered.refresh()
    assert remembered.manifest(pin) == built.artifact
    never = neighbour(site, built).artifact.manifest_path
    with pytest.raises(NotFound):
        remembered.published(never)
