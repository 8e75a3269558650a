"""Stores that are down or have expired, layers that lie on the host, and what was fetched ahead."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from distributor.publishing.keys import load_signers
from distributor.publishing.repository import RENEW_ROLES, Repository
from distributor.stores.directory import DirectoryStore
from manifests.receipt import read_receipt
from tests.small_site import SmallSite, purelib, run, snapshot, venvoy


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    made = SmallSite(tmp_path / "site")
    made.release("1.0.0")
    made.release("2.0.0")
    return made


def expire(site: SmallSite) -> None:
    """Sign the store's state as somebody did long ago who never came back."""
    past = datetime.now(timezone.utc) - timedelta(days=400)
    signers = load_signers(site.keys, RENEW_ROLES)
    Repository(
        DirectoryStore(site.store),
        signers,
        root=site.root.read_bytes(),
        state_dir=site.keys / "seen",
        now=lambda: past,
    ).renew()


def take_down(site: SmallSite) -> None:
    site.store.rename(site.store.with_name("away"))


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fetch(site: SmallSite, release: str, *options: str) -> subprocess.CompletedProcess[str]:
    return venvoy(
        *("fetch", "demo", "--release", release, "--store", site.store, "--root", site.root),
        *("--state", site.state, "--json", *options),
    )


def layers(site: SmallSite) -> list[Path]:
    return sorted((site.state / "cache/fetched-layers").glob("*/*"))


def test_a_second_release_fetches_only_layers_that_lack(site: SmallSite, tmp_path: Path) -> None:
    first = site.install("1.0.0", tmp_path / "venvs/one")
    second = site.install("2.0.0", tmp_path / "venvs/two")
    again = site.install("1.0.0", tmp_path / "venvs/three")
    assert 0 < second["fetched_bytes"] < first["fetched_bytes"]
    assert again["fetched_bytes"] == 0
    assert again["unpacked"] is True


def test_nothing_is_kept_where_nothing_shall_be(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "one", "--no-cache")
    assert layers(site) == []


def test_a_damaged_cache_is_noticed_and_mended(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "venvs/one")
    good = {path: path.read_bytes() for path in layers(site)}
    flipped, cut, *_ = good
    flipped.write_bytes(bytes([good[flipped][0] ^ 1]) + good[flipped][1:])
    cut.write_bytes(good[cut][:-1])
    result = site.install("1.0.0", tmp_path / "venvs/two")
    assert result["fetched_bytes"] == len(good[flipped]) + len(good[cut])
    assert {path: path.read_bytes() for path in layers(site)} == good
    assert venvoy("verify", tmp_path / "venvs/two").returncode == 0


def test_what_was_fetched_is_installed_without_the_store(site: SmallSite, tmp_path: Path) -> None:
    fetched = document(fetch(site, "1.0.0"))
    assert fetched["artifacts"][0]["fetched_bytes"] == fetched["artifacts"][0]["length"]
    assert document(fetch(site, "1.0.0"))["artifacts"][0]["fetched_bytes"] == 0
    take_down(site)
    result = site.install("1.0.0", tmp_path / "venvs/demo")
    assert (result["changed"], result["fetched_bytes"]) == (True, 0)
    assert "verified on this host before" in result["notes"][0]
    assert run([str(tmp_path / "venvs/demo/bin/demo-manage")]).stdout == "demo 1.0.0\n"


def test_what_was_never_verified_here_needs_the_store(site: SmallSite, tmp_path: Path) -> None:
    document(fetch(site, "1.0.0"))
    take_down(site)
    done = run(site.command("2.0.0", tmp_path / "demo"))
    assert done.returncode in (5, 7)
    assert str(site.store) in done.stderr
    assert not (tmp_path / "demo").exists()


def test_a_fresh_host_needs_the_store(site: SmallSite, tmp_path: Path) -> None:
    take_down(site)
    done = run(site.command("1.0.0", tmp_path / "demo"))
    assert done.returncode in (5, 7)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "demo").exists()


def test_fetching_can_be_interrupted_and_goes_on(site: SmallSite, tmp_path: Path) -> None:
    document(fetch(site, "1.0.0"))
    gone, *kept = layers(site)
    length = gone.stat().st_size
    gone.unlink()
    assert kept
    assert document(fetch(site, "1.0.0"))["artifacts"][0]["fetched_bytes"] == length


@pytest.fixture
def expired_and_down(site: SmallSite, tmp_path: Path) -> SmallSite:
    """A host on 2.0.0 that was on 1.0.0 before; then the site's metadata expires and its store goes down."""
    for release in ("1.0.0", "2.0.0"):
        site.install(release, tmp_path / "demo")
    expire(site)
    # The host sees the expired state once; then nothing answers any more.
    refused = run(site.command("1.0.0", tmp_path / "other", "--state", str(tmp_path / "fresh")))
    assert refused.returncode == 3
    assert "expired" in refused.stderr
    take_down(site)
    return site


def test_an_expired_site_that_is_down_takes_nothing_with_it(
    expired_and_down: SmallSite, tmp_path: Path
) -> None:
    site, demo = expired_and_down, tmp_path / "demo"
    whole = snapshot(demo)
    assert site.install("2.0.0", demo)["changed"] is False

    (purelib(demo) / "demo/data.txt").unlink()
    repaired = site.install("2.0.0", demo, "--repair")
    assert repaired["changed"] is True
    assert "verified on this host before" in repaired["notes"][0]
    same = {path: facts for path, facts in snapshot(demo).items() if not path.endswith("receipt.json")}
    assert same == {path: facts for path, facts in whole.items() if not path.endswith("receipt.json")}

    done = venvoy("rollback", demo, "--to", "1.0.0")
    assert done.returncode == 0, done.stderr
    assert run([str(demo / "bin/demo-manage")]).stdout == "demo 1.0.0\n"

    # Reinstalled elsewhere, of what was verified here before.
    assert site.install("2.0.0", tmp_path / "elsewhere")["changed"] is True


def test_an_expired_store_still_gives_bytes(site: SmallSite, tmp_path: Path) -> None:
    """Its metadata is no longer believed to be fresh; its layers are as good as their digests."""
    site.install("1.0.0", tmp_path / "demo")
    expire(site)
    shutil.rmtree(site.state / "cache")
    result = site.install("1.0.0", tmp_path / "elsewhere/demo")
    assert result["fetched_bytes"] > 0
    assert "expired" in result["notes"][0]


def test_accepting_expired_metadata_is_recorded(site: SmallSite, tmp_path: Path) -> None:
    expire(site)
    refused = run(site.command("1.0.0", tmp_path / "demo"))
    assert refused.returncode == 3
    assert "--allow-expired" in refused.stderr
    assert "clock" in refused.stderr
    site.install("1.0.0", tmp_path / "demo", "--allow-expired", "the signing host burnt down")
    receipt = read_receipt(tmp_path / "demo")
    assert receipt is not None
    assert receipt.history[-1].note == "expired metadata was accepted: the signing host burnt down"


def test_accepting_expired_metadata_accepts_nothing_else(site: SmallSite, tmp_path: Path) -> None:
    expire(site)
    versions = (site.store / "metadata").glob("*.releases.json")
    newest = max(versions, key=lambda path: int(path.name.split(".")[0]))
    newest.write_bytes(newest.read_bytes().replace(b"2.0.0", b"6.6.6"))
    done = run(site.command("1.0.0", tmp_path / "demo", "--allow-expired", "whatever"))
    assert done.returncode == 3
    assert not (tmp_path / "demo").exists()


def test_a_clock_before_this_version_was_built_is_refused(
    site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributor.trust.trust import Trust
    from manifests.errors import VerificationFailed

    trust = Trust(DirectoryStore(site.store), tmp_path / "state", site.root.read_bytes())
    trust.refresh()
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    monkeypatch.setattr("distributor.trust.trust.BUILT", tomorrow.isoformat())
    with pytest.raises(VerificationFailed, match=r"clock says .* built on .*: set the clock"):
        trust.refresh()


def test_the_cache_is_cleaned_by_size(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "venvs/demo")
    total = sum(path.stat().st_size for path in layers(site))

    def collect(*options: str) -> Any:
        state = ("--state", str(site.state))
        return document(venvoy("gc", tmp_path / "venvs", *state, "--json", *options))

    assert collect()["freed_cache_bytes"] == 0
    assert collect("--cache-size", "0", "--dry-run")["freed_cache_bytes"] == total
    assert collect("--cache-size", "1G")["freed_cache_bytes"] == 0
    assert layers(site)
    assert collect("--cache-size", "0")["freed_cache_bytes"] == total
    assert layers(site) == []
    assert venvoy("gc", tmp_path / "venvs", "--cache-size", "plenty").returncode == 2
