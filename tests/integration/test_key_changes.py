"""Keys by the command line: each one rotated, lost, stolen, and hosts that follow or refuse as they must."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distributor.publishing.key_rotation import rotate_key
from distributor.publishing.keys import PASSPHRASE, ROLES, load_signers
from distributor.stores.directory import DirectoryStore
from manifests.errors import VenvoyError
from tests.distributor.artifacts import Site, build_artifact
from tests.small_site import venvoy
from venvoy import cli

NOW = datetime.now(timezone.utc)


class Place:
    """A store with one artifact, pinned as release 1, and hosts that were given its first root."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory)
        self.built = build_artifact(self.site.build)
        self.site.publish(self.built)
        self.site.pin("1", self.built)
        self.store = directory / "store"
        self.keys = directory / "keys"
        self.root = directory / "root.json"
        self.root.write_bytes(self.site.root)

    def run(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a command line, and return its document; or its error, which must have the exit code."""
        given = [*map(str, words), "--json"]
        done = CliRunner().invoke(cli, given, catch_exceptions=True)
        if isinstance(done.exception, VenvoyError):
            assert done.exception.exit_code == code, str(done.exception)
            return {"error": str(done.exception)}
        assert done.exit_code == code, f"{done.output}\n{done.exception}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def by(self, keys: Path | None, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a command of whoever holds *keys*."""
        return self.run(*words, "--store", self.store, "--keys", keys or self.keys, code=code)

    def host(self, name: str = "host", code: int = 0) -> dict[str, Any]:
        """Ask the store as a host does that was given the first root."""
        options = ["--store", self.store, "--root", self.root, "--state", self.site.directory / name]
        return self.run("show", self.built.artifact.stem, *options, code=code)

    def publish(self, version: str, keys: Path | None = None, service: str = "nova", code: int = 0) -> Any:
        build = self.site.directory / f"build-{service}-{version}"
        built = build_artifact(build, service, version)
        done = self.by(keys, "publish", build, code=code)
        return built if not code else done["error"]

    def keyids(self, role: str) -> list[str]:
        options = ["--root", self.root, "--state", self.site.directory / "looks"]
        rows = {row["role"]: row for row in self.by(None, "keys", "status", *options)["roles"]}
        return [key["keyid"] for key in rows[role]["keys"]]

    def folder(self, name: str, *files: str) -> Path:
        """Give somebody *files* of the keys, and the root."""
        folder = self.site.directory / name
        folder.mkdir(mode=0o700)
        for file in (*files, "root.json"):
            shutil.copy(self.keys / file, folder / file)
        return folder

    def draft(self, *words: str | Path, code: int = 0) -> Path:
        change = self.site.directory / "change.json"
        options = ["--root", self.root, "--state", self.site.directory / "looks", "--store", self.store]
        self.run("keys", "draft", *words, "-o", change, *options, code=code)
        return change

    def new_key(self, folder: Path, role: str, *words: str) -> Path:
        return Path(self.run("keys", "new", role, *words, "--keys", folder)["public"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("role", ROLES)
def test_each_key_is_rotated_and_hosts_follow(shared: Place, role: str) -> None:
    place = shared
    place.host()
    before = place.keyids(role)
    stolen = place.folder(f"stolen-{role}", *{f"{role}.pem", "snapshot.pem", "timestamp.pem"})
    done = venvoy("keys", "rotate", role, "--store", place.store, "--keys", place.keys, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [document["old"]] == before
    assert place.keyids(role) == [document["new"]]
    assert place.host()["releases"][0] == "1"
    assert place.host(f"new-{role}")["releases"][0] == "1"
    # The keys in the directory are the new ones: work goes on; the one that was replaced signs nothing.
    built = place.publish(f"1.{ROLES.index(role)}")
    place.by(None, "pin", f"2.{ROLES.index(role)}", built.manifest.parents[2])
    assert list((place.keys / "retired").glob(f"{role}-*.pem"))
    assert not list(place.keys.glob("*@*.pem"))
    place.host()
    if role == "artifacts":
        assert "is not enough" in place.publish("9", stolen, code=9)
    if role == "releases":
        assert "is not enough" in place.by(stolen, "promote", "1", "stable", "--why", "x", code=9)["error"]
    if role in ("snapshot", "timestamp"):
        assert "is not enough" in place.by(stolen, "renew", code=9)["error"]


def test_a_lost_releases_key_is_replaced_without_touching_hosts(place: Place) -> None:
    place.host()
    (place.keys / "releases.pem").unlink()
    error = place.by(None, "pin", "2", place.site.build, code=5)["error"]
    assert "no key" in error
    assert "releases.pem" in error
    place.by(None, "keys", "rotate", "releases")
    place.by(None, "pin", "2", place.site.build)
    assert place.host()["releases"] == ["1", "2"]


def test_a_stolen_builder_key_pins_and_promotes_nothing(place: Place) -> None:
    builder = place.folder("builder", "artifacts.pem", "snapshot.pem", "timestamp.pem")
    place.publish("1", builder)
    assert "no key" in place.by(builder, "pin", "2", place.site.build, code=5)["error"]
    shutil.copy(builder / "artifacts.pem", builder / "releases.pem")
    before = set((place.store / "metadata").iterdir())
    assert "is not enough" in place.by(builder, "pin", "2", place.site.build, code=9)["error"]
    assert "is not enough" in place.by(builder, "promote", "1", "stable", "--why", "x", code=9)["error"]
    assert set((place.store / "metadata").iterdir()) == before
    assert place.host()["releases"] == ["1"]


def test_an_expired_timestamp_is_refused_until_it_is_renewed(place: Place) -> None:
    place.host()
    timestamp = place.site._read("metadata/timestamp.json")
    timestamp.signed.expires = (NOW - timedelta(days=1)).replace(microsecond=0)
    timestamp.signed.version += 1
    signer = load_signers(place.keys, ("timestamp",))["timestamp"][0]
    place.site._write(timestamp, "timestamp", signer)
    assert "timestamp.json is expired" in place.host("fresh", code=3)["error"]
    place.host()  # what it verified before, it still knows
    online = place.folder("online", "snapshot.pem", "timestamp.pem")
    place.by(online, "renew")
    assert place.host("fresh")["releases"] == ["1"]


def test_two_of_three_root_keys_offline(place: Place) -> None:
    """The ceremony: each keyholder has one key and a machine without a network."""
    first = place.folder("first", "root.pem", "targets.pem")
    second, third = place.folder("second"), place.folder("third")
    publics = [place.new_key(second, "root"), place.new_key(third, "root")]
    online = place.folder("online", "snapshot.pem", "timestamp.pem", "releases.pem", "artifacts.pem")
    change = place.draft(*(f"--add=root={path}" for path in publics), "--threshold", "root=2")
    assert "is not signed by enough" in place.by(online, "keys", "apply", change, code=9)["error"]
    signed = place.run("keys", "sign", change, "--keys", first, "--yes")
    assert signed["lacking"] == ["root: 1 of 2 signatures of the keys that will count"]
    assert place.run("keys", "sign", change, "--keys", third, "--yes")["lacking"] == []
    assert place.by(online, "keys", "apply", change)["changed"]
    assert not place.by(online, "keys", "apply", change)["changed"]
    place.host()
    # From now on one of them alone changes nothing.
    change = place.draft("--renew", "root", "--renew", "targets")
    place.run("keys", "sign", change, "--keys", first, "--yes")
    error = place.by(online, "keys", "apply", change, code=9)["error"]
    assert "root: 1 of 2 signatures of the keys that count now" in error
    place.run("keys", "sign", change, "--keys", second, "--yes")
    assert place.by(online, "keys", "apply", change)["changed"]
    place.publish("1", online)
    assert place.host()["releases"] == ["1"]


def test_two_release_managers_sign_together(place: Place) -> None:
    ada = place.new_key(place.keys, "releases", "--label", "ada")
    change = place.draft(f"--add=releases={ada}", "--threshold", "releases=2")
    place.run("keys", "sign", change, "--keys", place.keys, "--yes")
    place.by(None, "keys", "apply", change)
    place.by(None, "pin", "2", place.site.build)  # both keys are here
    alone = place.folder("alone", "releases.pem", "snapshot.pem", "timestamp.pem")
    assert "1 of 2 signatures" in place.by(alone, "pin", "3", place.site.build, code=9)["error"]
    assert place.host()["releases"] == ["1", "2"]


def test_a_service_may_have_a_builder_of_its_own(place: Place) -> None:
    old = place.publish("32.0")
    nova = place.folder("nova", "snapshot.pem", "timestamp.pem")
    public = place.new_key(nova, "artifacts.nova")
    change = place.draft(f"--add=artifacts.nova={public}")
    place.run("keys", "sign", change, "--keys", place.keys, "--yes")
    everybody = place.folder("everybody", "artifacts.pem", "snapshot.pem", "timestamp.pem")
    assert "artifacts.nova is needed" in place.by(everybody, "keys", "apply", change, code=5)["error"]
    place.by(nova, "keys", "apply", change)
    new = place.publish("33.0", nova)
    assert "artifacts.nova is needed" in place.publish("34.0", everybody, code=5)
    assert "key of role artifacts is needed" in place.publish("35.0", nova, service="glance", code=5)
    place.publish("36.0", everybody, service="glance")
    trust = place.site.refreshed("looks")
    for built in (old, new):
        assert trust.published(built.artifact.manifest_path) == built.artifact
    assert len(trust.entries("artifacts")) == 4
    place.by(None, "pin", "2", old.artifact.stem)
    assert place.host()["releases"] == ["1"]


def test_a_change_that_is_stale_altered_or_foreign_is_refused(place: Place, tmp_path: Path) -> None:
    change = place.draft("--renew", "targets")
    place.run("keys", "sign", change, "--keys", place.keys, "--yes")
    kept = change.read_bytes()
    place.by(None, "keys", "rotate", "releases")
    assert "draft it again" in place.by(None, "keys", "apply", change, code=9)["error"]
    value = json.loads(kept)
    value["targets"]["signed"]["expires"] = "2099-01-01T00:00:00Z"
    change.write_text(json.dumps(value))
    assert "not signed by enough" in place.by(None, "keys", "apply", change, code=9)["error"]
    value["base_targets"]["signed"]["expires"] = "2099-01-01T00:00:00Z"
    change.write_text(json.dumps(value))
    assert "does not verify" in place.by(None, "keys", "apply", change, code=3)["error"]
    change.write_bytes(kept)
    other = Place(tmp_path / "other")
    error = place.run("keys", "sign", change, "--keys", other.keys, "--yes", code=3)["error"]
    assert "not of the site" in error
    done = CliRunner().invoke(cli, ["keys", "sign", str(change), "--keys", str(place.keys)], input="n\n")
    assert "was not signed" in str(done.exception)
    assert "targets 1 -> 2, until" in done.stderr


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "artifacts"])
def test_an_interrupted_rotation_is_taken_up_and_leaves_no_wreck(
    place: Place, role: str, *, lost: bool
) -> None:
    """Killed at each write of keys whose metadata changes together with root, or with others."""
    place.host()
    if lost:
        (place.keys / f"{role}.pem").unlink()
    for writes in range(9):
        store = StoppingStore(place.store, writes)
        try:
            rotate_key(store, place.keys, role, keyid=None, now=NOW)
            break
        except Stopped:
            if not lost:  # at every instant hosts find what verifies
                place.host("host")
                place.host(f"fresh-{writes}")
    else:
        raise AssertionError("it never came to its end")
    place.host()
    assert sorted(path.name for path in place.keys.glob(f"{role}*.pem")) == [f"{role}.pem"]
    assert not list(place.keys.glob("rotation-*"))
    place.by(None, "renew")
    place.host("fresh")


def test_passphrases_are_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "CANARY words")
    place.by(None, "keys", "rotate", "releases")
    assert b"ENCRYPTED" in (place.keys / "releases.pem").read_bytes()
    place.by(None, "pin", "2", place.site.build)
    monkeypatch.delenv(PASSPHRASE)
    error = place.by(None, "pin", "3", place.site.build, code=2)["error"]
    assert "CANARY" not in error
    assert f"{PASSPHRASE} is wrong or not set" in error


def test_what_expires_soon_is_named_and_renewed_by_who_can(place: Place) -> None:
    def soon(signed: Any) -> None:
        signed.expires = (NOW + timedelta(days=100)).replace(microsecond=0)

    for role in ("targets", "releases", "artifacts"):
        place.site.forge(role, soon)
    done = venvoy(
        "renew", "--store", place.store, "--keys", place.folder("online", "snapshot.pem", "timestamp.pem")
    )
    assert done.returncode == 0
    assert "warning: targets expires on" in done.stderr
    assert "warning: releases expires on" in done.stderr
    again = place.by(None, "renew")["signed_again"]
    assert set(again) == {"targets", "releases", "artifacts"}
    options = ["--root", place.root, "--state", place.site.directory / "looks"]
    assert not [row for row in place.by(None, "keys", "status", *options)["roles"] if row["due"]]
    assert place.by(None, "renew")["signed_again"] == []


class Stopped(BaseException):
    """What a kill is to a process: nothing of ours catches it."""


class StoppingStore(DirectoryStore):
    """A directory store whose process dies at the given write."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.writes = writes

    def _count(self) -> None:
        if self.writes == 0:
            raise Stopped
        self.writes -= 1

    def write_if_absent(self, path: str, source: Any, *, expect: Any = None) -> bool:
        if self.size(path) is None:
            self._count()
        return super().write_if_absent(path, source, expect=expect)

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        self._count()
        return super().replace_if_unchanged(path, data, version)
