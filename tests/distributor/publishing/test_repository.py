"""Publishing and pinning: order, immutability, races, interruptions, and stores that were tampered with."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distributor.publishing.built_files import BuiltFiles, find_built
from distributor.publishing.initialisation import initialise
from distributor.publishing.keys import ROLES, key_path, load_signers
from distributor.publishing.repository import PIN_ROLES, PUBLISH_ROLES, Repository, open_repository
from distributor.stores.directory import DirectoryStore
from distributor.trust.tuf_api import Metadata
from manifests.errors import (
    HostUnsuitable,
    InvalidInput,
    NotFound,
    Refused,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)
from tests.distributor.artifacts import Site, build_artifact

NOW = datetime.now(timezone.utc)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


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

    def write_if_absent(self, path: str, source: Any, **options: Any) -> bool:
        self._count()
        return super().write_if_absent(path, source, **options)

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        self._count()
        return super().replace_if_unchanged(path, data, version)


class TestInit:
    def test_a_store_has_its_roles_and_a_second_run_changes_nothing(self, site: Site) -> None:
        before = contents(site.directory)
        assert initialise(site.store, site.keys, now=NOW + timedelta(days=1)) == site.root
        assert contents(site.directory) == before
        assert {path.name for path in site.path("metadata").iterdir()} == {
            "1.root.json",
            "1.targets.json",
            "1.artifacts.json",
            "1.releases.json",
            "1.snapshot.json",
            "timestamp.json",
        }
        root = json.loads(site.root)["signed"]
        assert root["consistent_snapshot"] is True
        delegations = json.loads(site.path("metadata/1.targets.json").read_bytes())["signed"]["delegations"]
        assert {role["name"]: role["paths"] for role in delegations["roles"]} == {
            "artifacts": ["artifacts/*/*", "patches/*/*", "sbom/*/*", "provenance/*/*"],
            "releases": ["pins/*", "channels/*"],
        }

    def test_expiry_defaults(self, site: Site) -> None:
        days = {
            path.name.removesuffix(".json").removeprefix("1."): (
                Metadata[Any].from_bytes(path.read_bytes()).signed.expires - NOW
            ).days
            for path in site.path("metadata").iterdir()
        }
        assert days == pytest.approx(
            {
                "root": 1825,
                "targets": 365,
                "artifacts": 365,
                "releases": 365,
                "snapshot": 365,
                "timestamp": 30,
            },
            abs=1,
        )

    def test_another_root_is_refused_and_makes_no_keys(self, site: Site, tmp_path: Path) -> None:
        before = contents(site.directory / "store")
        with pytest.raises(Refused, match="is a signed store already"):
            initialise(site.store, tmp_path / "other-keys", now=NOW)
        assert not (tmp_path / "other-keys").exists()
        other = Site(tmp_path / "other")
        with pytest.raises(Refused, match="the store of another root"):
            initialise(site.store, other.keys, now=NOW)
        assert contents(site.directory / "store") == before

    def test_one_set_of_keys_may_serve_two_stores(self, site: Site, tmp_path: Path) -> None:
        assert initialise(DirectoryStore(tmp_path / "second"), site.keys, now=NOW) == site.root

    def test_a_complete_store_needs_no_private_keys(self, site: Site) -> None:
        for role in ROLES:
            key_path(site.keys, role).unlink()
        assert initialise(site.store, site.keys, now=NOW) == site.root

    @pytest.mark.parametrize("writes", range(6))
    def test_interrupted_init_is_completed_by_a_rerun(self, tmp_path: Path, writes: int) -> None:
        with pytest.raises(Stopped):
            initialise(StoppingStore(tmp_path / "store", writes), tmp_path / "keys", now=NOW)
        assert not (tmp_path / "store/metadata/timestamp.json").exists()
        site = Site(tmp_path, now=NOW + timedelta(hours=1))
        assert site.refreshed().releases() == []
        assert site.publish(build_artifact(site.build)).published

    @pytest.mark.parametrize("kept", range(len(ROLES)))
    def test_init_interrupted_among_the_keys_is_completed(self, tmp_path: Path, kept: int) -> None:
        first = Site(tmp_path / "first")
        keys = tmp_path / "keys"
        keys.mkdir(mode=0o700)
        for role in ROLES[:kept]:
            shutil.copy(key_path(first.keys, role), key_path(keys, role))
        site = Site(tmp_path)
        assert site.refreshed().releases() == []

    def test_a_lost_timestamp_is_not_replaced_by_an_old_state(self, site: Site) -> None:
        site.publish(build_artifact(site.build))
        site.path("metadata/timestamp.json").unlink()
        with pytest.raises(Refused, match=r"lost its metadata/timestamp\.json"):
            initialise(site.store, site.keys, now=NOW)

    def test_planted_metadata_in_a_half_made_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Stopped):
            initialise(StoppingStore(tmp_path / "store", 1), tmp_path / "keys", now=NOW)
        other = Site(tmp_path / "other")
        shutil.copy(other.path("metadata/1.targets.json"), tmp_path / "store/metadata/1.targets.json")
        with pytest.raises(Refused, match="was not signed with these keys"):
            initialise(DirectoryStore(tmp_path / "store"), tmp_path / "keys", now=NOW)

    def test_a_damaged_root_file_is_named(self, site: Site) -> None:
        (site.keys / "root.json").write_bytes(b"")
        for store in (site.store, DirectoryStore(site.directory / "new")):
            with pytest.raises(InvalidInput, match="is not root metadata"):
                initialise(store, site.keys, now=NOW)


class TestPublish:
    def test_the_stored_bytes_are_the_built_ones(self, site: Site) -> None:
        built = build_artifact(site.build)
        result = site.publish(built)
        assert result.published == (built.artifact.manifest_path,)
        assert site.path(built.artifact.tarball_path).read_bytes() == built.tarball.read_bytes()
        packed = site.path(built.artifact.manifest_path).read_bytes()
        assert gzip.decompress(packed) == built.manifest.read_bytes()

    def test_the_same_bytes_again_change_nothing(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        before = contents(site.directory / "store")
        assert site.publish(built).unchanged == (built.artifact.manifest_path,)
        assert contents(site.directory / "store") == before

    def test_nothing_to_publish_changes_nothing(self, site: Site) -> None:
        before = contents(site.directory / "store")
        site.publish()
        assert contents(site.directory / "store") == before

    def test_other_bytes_under_a_published_name_are_refused(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        before = contents(site.directory / "store")
        with pytest.raises(Refused, match="published names are never reused"):
            site.publish(same_name_other_bytes(built, site.directory / "again"))
        assert contents(site.directory / "store") == before

    def test_other_bytes_that_an_interrupted_publish_left_are_refused(self, site: Site) -> None:
        built = build_artifact(site.build)
        for path in (built.artifact.tarball_path, built.artifact.manifest_path):
            site.store.write_if_absent(path, b"something else")
            with pytest.raises((Refused, VerificationFailed)):
                site.publish(built)
            site.path(path).unlink()
        assert site.publish(built).published

    def test_corrupt_tarball_at_publish_is_refused_and_nothing_is_visible(self, site: Site) -> None:
        before = contents(site.directory / "store")
        for damage in (lambda data: data[:-1], lambda data: data + b"x", lambda data: b"\0" + data[1:]):
            built = build_artifact(site.build)
            built.tarball.write_bytes(damage(built.tarball.read_bytes()))
            with pytest.raises(VerificationFailed):
                site.publish(built)
            assert contents(site.directory / "store") == before

    def test_a_manifest_that_is_not_canonical_is_refused(self, site: Site) -> None:
        built = build_artifact(site.build)
        built.manifest.write_bytes(built.manifest.read_bytes() + b"\n")
        with pytest.raises(VerificationFailed, match="not the canonical manifest"):
            site.publish(built)

    def test_a_manifest_packed_by_another_zlib_is_kept(self, site: Site) -> None:
        built = build_artifact(site.build)
        other = gzip.compress(built.manifest.read_bytes(), 1)
        site.store.write_if_absent(built.artifact.manifest_path, other)
        site.publish(built)
        site.pin("1", built)
        trust = site.refreshed()
        assert trust.manifest(trust.pins("1").pins[0]) == built.artifact
        assert site.path(built.artifact.manifest_path).read_bytes() == other
        assert site.publish(built).published == ()

    def test_objects_that_the_store_lost_are_put_back(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        before = contents(site.directory / "store")
        site.path(built.artifact.tarball_path).unlink()
        site.path(built.artifact.manifest_path).unlink()
        assert site.publish(built).published == ()
        assert contents(site.directory / "store") == before

    @pytest.mark.parametrize("writes", range(5))
    def test_interrupted_publish_shows_nothing_and_a_rerun_completes_it(
        self, site: Site, writes: int
    ) -> None:
        first = build_artifact(site.build, "nova")
        site.publish(first)
        built = build_artifact(site.build)
        store = StoppingStore(site.directory / "store", writes)
        with pytest.raises(Stopped):
            open_repository(store, site.keys, PUBLISH_ROLES).publish([built])
        assert set(site.refreshed().entries("artifacts")) == {first.artifact.manifest_path}
        assert site.publish(built).published == (built.artifact.manifest_path,)
        assert len(site.refreshed().entries("artifacts")) == 2

    def test_an_expired_timestamp_is_ended_by_publishing(self, site: Site) -> None:
        def expire(signed: Any) -> None:
            signed.expires = NOW - timedelta(days=1)

        site.forge("snapshot", expire)
        with pytest.raises(VerificationFailed, match="expired"):
            site.refreshed()
        site.publish(build_artifact(site.build))
        site.refreshed()

    def test_renewal_extends_the_term_and_changes_nothing_else(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        later = NOW + timedelta(days=40)
        signers = load_signers(site.keys, ("snapshot", "timestamp"))
        Repository(
            site.store, signers, root=site.root, state_dir=site.directory / "seen", now=lambda: later
        ).renew()
        assert set(site.refreshed(now=later).entries("artifacts")) == {built.artifact.manifest_path}

    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "artifacts"])
    def test_a_tampered_store_is_refused_not_signed_again(self, site: Site, role: str) -> None:
        site.publish(build_artifact(site.build))
        name = "timestamp.json" if role == "timestamp" else f"{site.newest(role)}.{role}.json"
        path = site.path(f"metadata/{name}")
        metadata = json.loads(path.read_bytes())
        metadata["signed"]["expires"] = "2099-01-01T00:00:00Z"
        path.write_text(json.dumps(metadata))
        before = contents(site.directory / "store")
        shutil.rmtree(site.keys / "seen")
        with pytest.raises(VerificationFailed):
            site.publish(build_artifact(site.build, "nova"))
        assert contents(site.directory / "store") == before

    def test_a_publisher_that_remembers_the_true_state_goes_on_from_it(self, site: Site) -> None:
        """Altered metadata in the store is never read where the true one is remembered."""
        first, second = build_artifact(site.build), build_artifact(site.build, "nova")
        site.publish(first)
        path = site.path(f"metadata/{site.newest('artifacts')}.artifacts.json")
        path.write_bytes(path.read_bytes().replace(b"28.0.0", b"28.0.1"))
        site.publish(second)
        assert set(site.refreshed().entries("artifacts")) == {
            first.artifact.manifest_path,
            second.artifact.manifest_path,
        }

    def test_a_rolled_back_store_is_refused_by_its_publisher(self, site: Site) -> None:
        old = site.save()
        site.publish(build_artifact(site.build))
        site.play_back(old)
        with pytest.raises(VerificationFailed, match="rollback"):
            site.publish(build_artifact(site.build, "nova"))

    def test_the_key_of_another_site_signs_nothing(self, site: Site, tmp_path: Path) -> None:
        other = Site(tmp_path / "other")
        shutil.copy(key_path(other.keys, "artifacts"), key_path(site.keys, "artifacts"))
        before = set(contents(site.directory / "store/metadata"))
        with pytest.raises(Refused, match=r"the artifacts key here is not enough .* \(0 of 1 signatures\)"):
            site.publish(build_artifact(site.build))
        assert set(contents(site.directory / "store/metadata")) == before

    def test_a_store_that_was_never_initialised_is_not_found(self, site: Site, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="'venvoy init' makes one"):
            open_repository(DirectoryStore(tmp_path / "none"), site.keys, PUBLISH_ROLES).publish([])

    def test_publishing_needs_three_keys_only(self, site: Site) -> None:
        for role in ("root", "targets", "releases"):
            key_path(site.keys, role).unlink()
        assert site.publish(build_artifact(site.build)).published

    def test_a_full_store_leaves_the_old_state(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        before = contents(site.directory / "store")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises((HostUnsuitable, StoreUnavailable)):
                site.publish(build_artifact(site.build))
        assert contents(site.directory / "store") == before
        assert site.publish(build_artifact(site.build)).published

    def test_two_publishers_at_once_both_succeed(self, site: Site) -> None:
        program = (
            "import sys\n"
            "from tests.distributor.artifacts import *\n"
            "from pathlib import Path\n"
            "site = Site(Path(sys.argv[1]))\n"
            "for number in range(5):\n"
            "    built = build_artifact(site.build, sys.argv[2], str(number))\n"
            "    assert site.publish(built).published\n"
            "    site.pin(f'{sys.argv[2]}-{number}', built)\n"
        )
        command = [sys.executable, "-c", program, str(site.directory)]
        both = [subprocess.Popen([*command, service], cwd=ROOT) for service in ("nova", "glance")]
        assert [process.wait(120) for process in both] == [0, 0]
        trust = site.refreshed()
        assert len(trust.entries("artifacts")) == 10
        assert len(trust.releases()) == 10
        for release in trust.releases():
            trust.manifest(trust.pins(release).pins[0])


class TestPin:
    def test_pins_name_the_stored_bytes(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        (pin,) = site.pin("1", built).pins
        stored = site.path(pin.manifest).read_bytes()
        assert (pin.length, pin.version, pin.target) == (len(stored), "28.0.0", str(built.artifact.target))
        assert [pins.release for pins in site.repository(()).releases()] == ["1"]

    def test_the_same_pins_again_change_nothing(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        site.pin("1", built)
        before = contents(site.directory / "store")
        site.pin("1", built)
        assert contents(site.directory / "store") == before

    def test_a_release_is_never_pinned_anew(self, site: Site) -> None:
        first, second = build_artifact(site.build), build_artifact(site.build, version="29.0.0")
        site.publish(first, second)
        site.pin("1", first)
        before = contents(site.directory / "store")
        with pytest.raises(Refused, match=r"pins/1\.json is published .* with other content"):
            site.pin("1", second)
        assert contents(site.directory / "store") == before

    def test_what_builders_did_not_sign_is_never_pinned(self, site: Site) -> None:
        built = build_artifact(site.build)
        other = build_artifact(site.build, "nova")
        site.publish(built)
        with pytest.raises(NotFound, match="run 'venvoy publish' first"):
            site.pin("1", other)
        repository = site.repository(PIN_ROLES)
        (pin,) = repository.pins_for([built.artifact])
        for forged in (
            replace_pin(pin, sha256="0" * 64),
            replace_pin(pin, length=pin.length + 1),
            replace_pin(pin, manifest=other.artifact.manifest_path),
        ):
            with pytest.raises(NotFound, match="not published like that"):
                repository.pin("1", [forged])
        assert site.store.size("pins/1.json") is None

    def test_an_artifact_here_that_differs_from_the_published_one_is_not_pinned(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        with pytest.raises(Refused, match="another content than the one here"):
            site.pin("1", same_name_other_bytes(built, site.directory / "again"))

    def test_artifacts_are_named_by_stem(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        repository = site.repository(PIN_ROLES)
        assert repository.pins_for([built.artifact.stem]) == repository.pins_for([built.artifact])
        with pytest.raises(NotFound):
            repository.pins_for(["keystone"])

    def test_two_artifacts_for_one_place_or_none_at_all_are_refused(self, site: Site) -> None:
        first, second = build_artifact(site.build), build_artifact(site.build, version="29.0.0")
        site.publish(first, second)
        with pytest.raises(InvalidInput, match="two artifacts for one service and target"):
            site.pin("1", first, second)
        with pytest.raises(InvalidInput, match="nothing to pin"):
            site.pin("1")

    def test_a_bad_release_name_is_refused(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        with pytest.raises(InvalidInput, match="cannot name a release"):
            site.pin("../1", built)

    @pytest.mark.parametrize("writes", range(4))
    def test_interrupted_pin_is_completed_by_a_rerun(self, site: Site, writes: int) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        store = StoppingStore(site.directory / "store", writes)
        repository = open_repository(store, site.keys, PIN_ROLES)
        with pytest.raises(Stopped):
            repository.pin("1", repository.pins_for([built.artifact]))
        assert site.refreshed().releases() == []
        site.pin("1", built)
        assert site.refreshed().releases() == ["1"]

    def test_unsigned_pins_with_other_content_are_refused(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        site.store.write_if_absent("pins/1.json", b"planted")
        with pytest.raises(Refused, match="with other content, unsigned"):
            site.pin("1", built)

    def test_a_builder_cannot_pin(self, site: Site) -> None:
        built = build_artifact(site.build)
        site.publish(built)
        key_path(site.keys, "releases").write_bytes(key_path(site.keys, "artifacts").read_bytes())
        with pytest.raises(Refused, match="the releases key here is not enough"):
            site.pin("1", built)


class TestCommands:
    """The commands on a site of their own; what they decide is tested above."""

    def run(self, site: Site, name: str, *arguments: str) -> Any:
        module = __import__(f"distributor.commands.{name}", fromlist=["command"])
        environment = {"VENVOY_STORE": str(site.directory / "store"), "VENVOY_KEYS": str(site.keys)}
        result = CliRunner(env=environment).invoke(module.command, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def test_from_init_to_releases(self, site: Site) -> None:
        built = build_artifact(site.build)
        nova = build_artifact(site.build, "nova")
        store = str(site.directory / "store")
        text = self.run(site, "init", store)
        assert str(site.keys / "root.json") in text
        assert "offline" in text
        assert "go offline now" in text
        published = json.loads(self.run(site, "publish", str(site.build), "--json"))
        assert published["published"] == [built.artifact.manifest_path, nova.artifact.manifest_path]
        assert "unchanged artifacts/keystone/" in self.run(site, "publish", str(site.build))
        assert "keystone 28.0.0 for cp311" in self.run(site, "pin", "1", str(site.build))
        pinned = json.loads(self.run(site, "pin", "2", nova.artifact.stem, "--json"))
        assert [pin["service"] for pin in pinned["pins"]] == ["nova"]
        options = ["--root", str(site.keys / "root.json"), "--state", str(site.directory / "state")]
        assert self.run(site, "releases", *options) == "1: keystone 28.0.0, nova 28.0.0\n2: nova 28.0.0\n"
        assert set(json.loads(self.run(site, "releases", *options, "--json"))["releases"]) == {"1", "2"}

    def test_errors_pass_to_the_front_door(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(NotFound, match="holds no artifacts"):
            self.run(site, "publish", str(tmp_path / "empty"))
        with pytest.raises(VenvoyError):
            self.run(site, "pin", "1", "nothing-like-that")

    @pytest.mark.parametrize("name", ["init", "publish", "pin", "releases"])
    def test_help_has_examples(self, site: Site, name: str) -> None:
        text = self.run(site, name, "--help")
        assert f"Examples:\n    venvoy {name}" in text.replace("\n\n", "\n")
        assert "noqa" not in text
        assert "--json" in text


def test_builds_are_found_with_their_tarballs(site: Site) -> None:
    built = build_artifact(site.build / "deep")
    assert find_built([site.build]) == [built]
    built.manifest.rename(built.manifest.with_name("other.json"))
    with pytest.raises(InvalidInput, match="its name should be"):
        find_built([site.build])
    built.manifest.with_name("other.json").rename(built.manifest)
    built.tarball.unlink()
    with pytest.raises(NotFound, match="has no tarball"):
        find_built([site.build])


def same_name_other_bytes(built: BuiltFiles, directory: Path) -> BuiltFiles:
    """Build other content and give it the name of *built*, as a build that is not reproducible would."""
    from dataclasses import replace

    other = build_artifact(directory, content=b"other content")
    artifact = replace(other.artifact, identity=built.artifact.identity)
    manifest = other.manifest.with_name(built.manifest.name)
    tarball = other.tarball.with_name(built.tarball.name)
    other.tarball.rename(tarball)
    manifest.write_bytes(artifact.to_json())
    return BuiltFiles(artifact=artifact, tarball=tarball, manifest=manifest)


def replace_pin(pin: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(pin, **changes)
