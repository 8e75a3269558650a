"""Two managers on two machines: the first proposes, the second signs the same file, somebody forwards it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from manifests.errors import Refused
from tests.distributor.artifacts import build_artifact
from tests.integration.test_key_changes import Place
from venvoy import cli


@dataclass(frozen=True, kw_only=True, slots=True)
class Managers:
    """A store whose releases take two of three managers, each with a directory of keys of their own."""

    place: Place
    ada: Path
    bob: Path
    carol: Path
    online: Path


@pytest.fixture
def managers(tmp_path: Path) -> Managers:
    place = Place(tmp_path)
    publics = [place.new_key(place.keys, "releases", "--label", name) for name in ("bob", "carol")]
    change = place.draft(*(f"--add=releases={public}" for public in publics), "--threshold", "releases=2")
    place.run("keys", "sign", change, "--keys", place.keys, "--yes")
    place.by(None, "keys", "apply", change)
    folders = {name: place.folder(name, f"releases@{name}.pem") for name in ("bob", "carol")}
    online = place.folder("online", "snapshot.pem", "timestamp.pem")
    return Managers(place=place, ada=place.folder("ada", "releases.pem"), online=online, **folders)


def releases(managers: Managers) -> list[str]:
    found: list[str] = managers.place.host()["releases"]
    return found


def test_a_release_takes_two_signatures_made_apart(managers: Managers, tmp_path: Path) -> None:
    place, file = managers.place, tmp_path / "pin.json"
    build = place.site.build
    place.by(managers.ada, "pin", "2", build, "--propose", file)
    error = place.by(managers.online, "forward", file, code=3)["error"]
    assert "is not signed by the store's release managers (1 of 2 signatures)" in error
    # The same manager twice is one manager.
    again = place.by(managers.ada, "countersign", file, "--yes")
    assert (again["signatures"], again["threshold"]) == (1, 2)
    place.by(managers.online, "forward", file, code=3)
    assert releases(managers) == ["1"]
    signed = place.by(managers.bob, "countersign", file, "--yes")
    assert (signed["releases"], signed["signatures"], signed["threshold"]) == (["2"], 2, 2)
    assert place.by(managers.online, "forward", file)["forwarded"] == ["pins/2.json"]
    assert releases(managers) == ["1", "2"]
    assert "hosts see this already" in place.by(managers.bob, "countersign", file, "--yes", code=9)["error"]


def test_a_channel_takes_two_signatures_made_apart(managers: Managers, tmp_path: Path) -> None:
    place, file = managers.place, tmp_path / "move.json"
    why = ("--why", "gate passed", "--who", "Ada")
    place.by(managers.ada, "promote", "1", "stable", *why, "--propose", file)
    place.by(managers.online, "forward", file, code=3)
    signed = place.by(managers.carol, "countersign", file, "--yes")
    assert signed["channels"] == [{"channel": "stable", "release": "1"}]
    place.by(managers.online, "forward", file)
    options = ("--root", place.root, "--state", tmp_path / "looks", "--store", place.store)
    (move,) = place.run("history", *options)["channels"]["stable"]
    assert (move["release"], move["who"]) == ("1", "Ada")


def test_what_is_signed_is_shown_before(managers: Managers, tmp_path: Path) -> None:
    place, file = managers.place, tmp_path / "pin.json"
    place.by(managers.ada, "pin", "2", place.site.build, "--propose", file)
    before = file.read_bytes()
    words = ["countersign", str(file), "--store", str(place.store), "--keys", str(managers.bob)]
    done = CliRunner().invoke(cli, words, input="n\n")
    assert isinstance(done.exception, Refused)
    assert "release 2:" in done.stderr
    assert f"{place.built.artifact.service} {place.built.artifact.version} for" in done.stderr
    assert "1 of 2 signatures" in done.stderr
    assert file.read_bytes() == before
    done = CliRunner().invoke(cli, words, input="y\n")
    assert done.exit_code == 0
    assert "enough: venvoy forward" in done.stdout


def test_strangers_do_not_count(managers: Managers, tmp_path: Path) -> None:
    place, file = managers.place, tmp_path / "pin.json"
    stranger = place.folder("stranger")
    place.new_key(stranger, "releases")
    error = place.by(stranger, "pin", "2", place.site.build, "--propose", file, code=9)["error"]
    assert "the releases key here is none of" in error
    assert not file.exists()
    place.by(managers.ada, "pin", "2", place.site.build, "--propose", file)
    before = file.read_bytes()
    error = place.by(stranger, "countersign", file, "--yes", code=9)["error"]
    assert "no key here is one of the store's release managers'" in error
    assert file.read_bytes() == before
    other = Place(tmp_path / "other")
    assert place.run("countersign", file, "--store", other.store, "--keys", other.keys, "--yes", code=3)


@pytest.mark.parametrize("part", ["documents", "releases"])
def test_what_was_altered_on_the_way_is_not_signed(managers: Managers, tmp_path: Path, part: str) -> None:
    place, file = managers.place, tmp_path / "pin.json"
    other = build_artifact(place.site.directory / "more", version="9.0")
    place.by(managers.ada, "pin", "2", place.site.build, "--propose", file)
    place.site.publish(other)
    # What Ada signed in her own store, where the release means something else.
    twin = tmp_path / "twin"
    shutil.copytree(place.store, twin)
    evil = tmp_path / "evil.json"
    words = ("pin", "2", other.artifact.stem, "--partial", "--propose", evil, "--keys", managers.carol)
    place.run(*words, "--store", twin)
    value = json.loads(file.read_bytes())
    theirs = json.loads(evil.read_bytes())[part]
    value[part] = theirs
    file.write_text(json.dumps(value))
    assert place.by(managers.bob, "countersign", file, "--yes", code=2)["error"]
    assert json.loads(file.read_bytes())[part] == theirs


def test_a_file_that_the_store_has_moved_on_from_is_not_signed(managers: Managers, tmp_path: Path) -> None:
    place = managers.place
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    place.by(managers.ada, "pin", "2", place.site.build, "--propose", first)
    place.by(managers.bob, "pin", "3", place.site.build, "--propose", second)
    place.by(managers.bob, "countersign", first, "--yes")
    place.by(managers.online, "forward", first)
    error = place.by(managers.ada, "countersign", second, "--yes", code=9)["error"]
    assert "does not follow the store's present state" in error
    assert releases(managers) == ["1", "2"]


def test_with_too_few_keys_the_way_is_named(managers: Managers) -> None:
    place = managers.place
    for file in ("snapshot.pem", "timestamp.pem"):
        shutil.copy(managers.online / file, managers.ada / file)
    error = place.by(managers.ada, "pin", "2", place.site.build, code=9)["error"]
    assert "1 of 2 signatures" in error
    assert "let each manager sign: --propose, 'venvoy countersign'" in error
