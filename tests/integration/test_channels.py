"""Pin, promote, go back: by the command line, and followed by hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distributor.stores.directory import DirectoryStore
from distributor.trust.roles import metadata_path
from distributor.trust.trust import Trust
from tests.small_site import SmallSite, venvoy


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    """Two releases of one service, the second with a barrier."""
    site = SmallSite(tmp_path_factory.mktemp("channels"))
    site.release("1.0.0")
    site.release("1.1.0", barrier="1.1.0 contracted the database")
    return site


def asked(site: SmallSite, *arguments: str) -> dict[str, Any]:
    options = ["--root", site.root, "--state", site.state]
    done = venvoy(*arguments, "--store", site.store, *options, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def promote(site: SmallSite, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = venvoy("promote", *arguments, "--store", site.store, "--keys", site.keys, "--json")
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def installed(site: SmallSite, dest: Path, *options: str) -> dict[str, Any]:
    command = site.command("-", dest, "--channel", "stable", *options)
    del command[command.index("--release") : command.index("--release") + 2]
    done = venvoy(*command[3:], "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_channel_is_promoted_followed_and_rolled_back(pinned: SmallSite, tmp_path: Path) -> None:
    site, dest = pinned, tmp_path / "venv"
    assert venvoy(*site.command("1.0.0", dest, "--channel", "stable")[3:]).returncode == 2
    before = sorted(path.name for path in (site.store / "metadata").iterdir())
    seen = promote(site, "1.0.0", "stable", "--why", "first", "--dry-run")
    assert (seen["changed"], seen["dry_run"], seen["came_from"]) == (True, True, None)
    assert sorted(path.name for path in (site.store / "metadata").iterdir()) == before

    promote(site, "1.0.0", "stable", "--why", "first", "--who", "ada")
    assert installed(site, dest)["release"] == "1.0.0"
    assert not installed(site, dest)["changed"]

    moved = promote(site, "1.1.0", "stable", "--why", "two weeks   as candidate")
    assert [item["service"] for item in moved["differences"]] == ["demo"]
    assert (moved["back"], moved["barriers"], moved["came_from"]) == (False, [], "1.0.0")
    assert installed(site, dest)["release"] == "1.1.0"
    assert not promote(site, "1.1.0", "stable", "--why", "again")["changed"]

    back = promote(site, "1.0.0", "stable", "--why", "incident 815", "--who", "grace")
    assert back["back"]
    assert back["barriers"] == [
        {"service": "demo", "release": "1.1.0", "barrier": "1.1.0 contracted the database"}
    ]
    assert installed(site, dest)["release"] == "1.0.0"

    history = asked(site, "history")["channels"]["stable"]
    assert [(move["number"], move["release"], move["back"], move["why"]) for move in history] == [
        (3, "1.0.0", True, "incident 815"),
        (2, "1.1.0", False, "two weeks as candidate"),
        (1, "1.0.0", False, "first"),
    ]
    assert [history[0]["who"], history[2]["who"]] == ["grace", "ada"]
    assert "@" in history[1]["who"]
    assert asked(site, "releases")["channels"] == {"stable": "1.0.0"}
    shown = asked(site, "show", "stable")
    assert (shown["release"], shown["channels"]) == ("1.0.0", ["stable"])
    label = shown["artifacts"][0]["artifact"]
    assert asked(site, "show", label)["releases"] == ["1.0.0"]
    # Off line: the channel stands where this host saw it last.
    site.store.rename(tmp_path / "gone")
    try:
        document = installed(site, dest)
        assert (document["release"], document["changed"]) == ("1.0.0", False)
    finally:
        (tmp_path / "gone").rename(site.store)


def test_what_is_not_there_is_named(pinned: SmallSite, tmp_path: Path) -> None:
    error = promote(pinned, "9.9.9", "candidate", "--why", "x", code=5)["error"]
    assert "release 9.9.9 is not signed" in error
    assert "cannot name a channel" in promote(pinned, "1.0.0", "a/b", "--why", "x", code=2)["error"]
    assert "why: say it" in promote(pinned, "1.0.0", "candidate", "--why", "  ", code=2)["error"]
    options = ["--store", pinned.store, "--root", pinned.root, "--state", tmp_path / "state"]
    done = venvoy("history", "nightly", *options)
    assert (done.returncode, "there is no channel nightly" in done.stderr) == (5, True)
    done = venvoy("install", "demo", "--dest", tmp_path / "venv", *options)
    assert (done.returncode, "--release or by --channel" in done.stderr) == (2, True)


def test_a_move_that_was_altered_afterwards_is_refused(pinned: SmallSite, tmp_path: Path) -> None:
    for number, release in enumerate(("1.0.0", "1.1.0", "1.0.0")):
        promote(pinned, release, "altered", "--why", f"number {number}")
    path = pinned.store / "channels/altered.2.json"
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data.replace(b"number 1", b"number 7"))
    try:
        options = ["--store", pinned.store, "--root", pinned.root, "--state", tmp_path / "state"]
        assert venvoy("history", "altered", *options).returncode == 3
    finally:
        path.write_bytes(data)


def test_the_signed_metadata_holds_one_move_of_a_channel(pinned: SmallSite, tmp_path: Path) -> None:
    for release in ("1.0.0", "1.1.0"):
        promote(pinned, release, "single", "--why", "x")
    trust = Trust(DirectoryStore(pinned.store), tmp_path / "state", pinned.root.read_bytes())
    trust.refresh()
    assert [path for path in trust.entries("releases") if "single" in path] == ["channels/single.2.json"]
    assert (pinned.store / metadata_path("releases", trust.signed("releases").version)).exists()


def test_pin_says_what_lacks(tmp_path: Path) -> None:
    site = SmallSite(tmp_path)
    built = site.release("1.0.0", publish=False)
    site.publish(built)
    spec = tmp_path / "release.toml"
    spec.write_text(
        f'release = "1.0.0"\ntargets = ["{built.artifact.target}"]\n'
        '[services.demo]\nrequirements = ["demo"]\n[services.other]\nrequirements = ["other"]\n'
    )
    options = ["--store", site.store, "--keys", site.keys]
    command = ["pin", "1.0.0", tmp_path / "build/1.0.0", "--spec", spec, *options]
    done = venvoy(*command)
    assert done.returncode == 9
    assert f"other for {built.artifact.target} is missing" in done.stderr
    assert not (site.store / "pins").exists()
    seen = venvoy(*command, "--partial", "--dry-run")
    assert (seen.returncode, seen.stdout.startswith("release 1.0.0 would be:")) == (0, True)
    assert not (site.store / "pins").exists()
    assert venvoy(*command, "--partial").returncode == 0
    # A second release takes over what is not named anew.
    other = site.release("1.1.0", "other", publish=False)
    site.publish(other)
    done = venvoy("pin", "1.1.0", tmp_path / "build/1.1.0", "--from", "1.0.0", *options, "--json")
    assert [pin["service"] for pin in json.loads(done.stdout)["pins"]] == ["demo", "other"]
    # Signed is signed.
    done = venvoy("pin", "1.1.0", tmp_path / "build/1.1.0", *options)
    assert (done.returncode, "never reused" in done.stderr) == (9, True)
