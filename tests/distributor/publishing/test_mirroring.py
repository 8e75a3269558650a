"""Copies of a store: verified, in an order that readers can live with, removed from when the source was."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distributor.publishing.mirroring import Mirrored, mirror
from distributor.publishing.pruning import prune
from distributor.stores.directory import DirectoryStore
from distributor.trust.trust import Trust
from manifests.errors import Refused, VerificationFailed
from tests.distributor.artifacts import Site, build_artifact


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    built = build_artifact(site.build, version="1.0.0")
    site.publish(built)
    site.pin("1.0.0", built)
    return site


def copy_of(site: Site, name: str = "copy") -> DirectoryStore:
    return DirectoryStore(site.directory / name)


def run(site: Site, copy: DirectoryStore, **options: Any) -> Mirrored:
    return mirror(site.store, site.root, site.directory / "mirror-state", copy, **options)


def release(site: Site, version: str) -> None:
    built = build_artifact(site.build, version=version)
    site.publish(built)
    site.pin(version, built)


def files(store: DirectoryStore) -> dict[str, bytes]:
    return {path: store.read(path, limit=10**9) for path in store.list("")}


def test_a_copy_is_the_same_and_a_second_run_changes_nothing(site: Site) -> None:
    copy = copy_of(site)
    done = run(site, copy)
    assert done.shown
    present = files(copy)
    assert set(present) == set(done.added)
    assert all(files(site.store)[path] == data for path, data in present.items())
    trust = Trust(copy, site.directory / "reader", site.root)
    trust.refresh()
    assert trust.releases() == ["1.0.0"]
    assert run(site, copy) == Mirrored(added=(), removed=(), shown=True)


def test_files_have_one_time_on_all_copies(site: Site) -> None:
    """Web servers make entity tags of size and time: a transfer may go on at another copy."""
    copy = copy_of(site)
    run(site, copy)
    for path in copy.list("artifacts/"):
        ours, theirs = (site.directory / name / path for name in ("copy", "store"))
        assert ours.stat().st_mtime == theirs.stat().st_mtime
        assert ours.stat().st_ino != theirs.stat().st_ino


def test_held_back_the_copy_shows_its_old_state(site: Site) -> None:
    copy = copy_of(site)
    run(site, copy)
    release(site, "2.0.0")
    assert not run(site, copy, show=False).shown
    trust = Trust(copy, site.directory / "reader", site.root)
    trust.refresh()
    assert trust.releases() == ["1.0.0"]
    assert run(site, copy).added == ("metadata/timestamp.json",)
    trust = Trust(copy, site.directory / "reader", site.root)
    trust.refresh()
    assert trust.releases() == ["1.0.0", "2.0.0"]


class Balanced:
    """Several copies behind one address: every request meets any of them."""

    def __init__(self, copies: list[DirectoryStore], dice: random.Random) -> None:
        self.copies, self.dice = copies, dice
        self.location = "https://repo.example/venvoy"

    def read(self, path: str, *, limit: int) -> bytes:
        return self.dice.choice(self.copies).read(path, limit=limit)

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        return self.dice.choice(self.copies).stream(path, offset=offset, length=length)


@pytest.mark.parametrize("seed", range(5))
def test_readers_of_any_copy_find_all_that_a_timestamp_names(site: Site, seed: int) -> None:
    copies = [copy_of(site, name) for name in ("a", "b", "c")]
    for copy in copies:
        run(site, copy)
    dice = random.Random(seed)
    reader = Balanced(copies, dice)

    def look(number: int) -> None:
        trust = Trust(reader, site.directory / f"reader-{number}", site.root)
        trust.refresh()
        for name in trust.releases():
            for pin in trust.pins(name).pins:
                artifact = trust.manifest(pin)
                chunks = reader.stream(artifact.tarball_path, offset=0, length=artifact.length)
                assert sum(map(len, chunks)) == artifact.length

    release(site, "2.0.0")
    for number, show in enumerate([False] * 3 + [True] * 3):
        run(site, copies[number % 3], show=show)
        look(number)


def test_what_the_source_pruned_goes_when_the_new_state_is_shown(site: Site) -> None:
    copy = copy_of(site)
    extra = build_artifact(site.build, version="9.0.0")
    site.publish(extra)
    run(site, copy)
    assert copy.size(extra.artifact.tarball_path) is not None
    prune(site.repository(), grace=timedelta(0))
    assert run(site, copy, show=False, remove=True).removed == ()
    assert copy.size(extra.artifact.tarball_path) is not None
    assert set(run(site, copy, remove=True).removed) == {
        extra.artifact.tarball_path,
        extra.artifact.manifest_path,
    }
    assert set(files(copy)) <= set(files(site.store))


def test_a_tampered_source_is_not_copied(site: Site) -> None:
    copy = copy_of(site)
    (tarball,) = site.path("artifacts/keystone").glob("*.tar.zst")
    tarball.write_bytes(tarball.read_bytes()[:-1] + b"!")
    with pytest.raises(VerificationFailed):
        run(site, copy)
    assert list(copy.list("")) == []


def test_a_copy_of_another_site_is_refused(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    with pytest.raises(Refused, match="is the store of another root: a copy begins empty"):
        run(site, other.store)


def test_the_command(site: Site) -> None:
    from distributor.commands.mirror import command

    options = [str(site.path("")), "--store", str(site.directory / "copy"), "--json"]
    options += ["--root", str(site.keys / "root.json"), "--state", str(site.directory / "state")]
    held = json.loads(CliRunner().invoke(command, [*options, "--hold"]).stdout)
    assert (held["changed"], held["shown"]) == (True, False)
    done = json.loads(CliRunner().invoke(command, options).stdout)
    assert done["added"] == ["metadata/timestamp.json"]
    assert json.loads(CliRunner().invoke(command, options).stdout)["changed"] is False


def test_a_copy_keeps_no_more_replaced_metadata_than_a_pruned_source(site: Site) -> None:
    copy = copy_of(site)
    for number in range(4):
        release(site, f"2.{number}")
        run(site, copy)
    snapshots = [path for path in copy.list("metadata/") if path.endswith(".snapshot.json")]
    assert len(snapshots) == 4
    gone = run(site, copy, remove=True).removed
    assert min(snapshots, key=lambda path: int(path.split("/")[1].split(".")[0])) in gone
    assert len([path for path in copy.list("metadata/") if path.endswith(".snapshot.json")]) == 3
    trust = Trust(copy, site.directory / "reader", site.root)
    trust.refresh()
    assert all(trust.manifest(pin) for name in trust.releases() for pin in trust.pins(name).pins)
    assert run(site, copy, remove=True).removed == ()
