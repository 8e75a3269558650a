"""Attacks on what a host believes. Each test carries its attack's name."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tuf.api import exceptions as tuf_exceptions

from distributor.publishing.keys import load_signers
from distributor.publishing.repository import Repository
from distributor.stores.location import open_store
from distributor.system import syncing
from distributor.trust import tuf_client, updater
from distributor.trust.gzipped import compress, decompress
from distributor.trust.roles import meta_file
from distributor.trust.trust import Trust
from distributor.trust.tuf_api import TargetFile
from distributor.trust.tuf_errors import TABLE, translate
from manifests.errors import (
    HostUnsuitable,
    Locked,
    NotFound,
    Refused,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)
from manifests.pins import Pin
from tests.distributor.artifacts import Site, build_artifact

NOW = datetime.now(timezone.utc)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store with keystone published and pinned as release 1."""
    site = Site(tmp_path)
    built = build_artifact(site.build)
    site.publish(built)
    site.pin("1", built)
    return site


def pin_of(site: Site) -> Pin:
    return site.refreshed("pin-reader").pins("1").pins[0]


def test_a_host_reads_releases_pins_and_manifests(site: Site) -> None:
    trust = site.refreshed()
    assert trust.releases() == ["1"]
    pins = trust.pins("1")
    assert [pin.service for pin in pins.pins] == ["keystone"]
    assert trust.manifest(pins.pins[0]) == build_artifact(site.build).artifact


def test_an_unknown_release_names_what_there_is(site: Site) -> None:
    with pytest.raises(NotFound, match=r"release 2 is not signed in .*; the last ones: 1"):
        site.refreshed().pins("2")


def test_rollback_to_an_older_store_is_refused(site: Site) -> None:
    old = site.save()
    site.publish(build_artifact(site.build, "nova"))
    site.refreshed()
    site.play_back(old)
    with pytest.raises(VerificationFailed, match="rollback"):
        site.refreshed()
    site.refreshed("another host that saw nothing yet")


def test_rollback_of_one_role_by_the_online_keys_is_refused(site: Site) -> None:
    old = site.path(f"metadata/{site.newest('releases')}.releases.json")
    before = site.newest("releases")
    site.pin("2", build_artifact(site.build))
    site.refreshed()

    def roll_back(snapshot: Any) -> None:
        snapshot.meta["releases.json"] = meta_file(before, old.read_bytes())

    site.forge("snapshot", roll_back)
    with pytest.raises(VerificationFailed, match="rollback"):
        site.refreshed()


def test_freeze_expired_timestamp_is_refused_and_prints_both_clocks(site: Site) -> None:
    later = NOW + timedelta(days=31)
    with pytest.raises(VerificationFailed) as caught:
        site.refreshed(now=later)
    message = str(caught.value)
    assert "timestamp.json is expired" in message
    assert f"this host's clock {later:%Y-%m-%d %H:%M:%S} UTC" in message
    assert f"expiry {NOW + timedelta(days=30):%Y-%m-%d}" in message
    assert "check this host's clock" in message


def test_freeze_on_a_host_that_saw_the_store_before_is_refused(site: Site) -> None:
    site.refreshed()
    with pytest.raises(VerificationFailed, match=r"timestamp\.json is expired"):
        site.refreshed(now=NOW + timedelta(days=31))


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "artifacts", "releases"])
def test_freeze_expired_role_is_refused(site: Site, role: str) -> None:
    def expire(signed: Any) -> None:
        signed.expires = NOW - timedelta(days=1)

    site.forge(role, expire)
    with pytest.raises(
        VerificationFailed, match=rf"{role}.* is expired \(expiry {NOW - timedelta(days=1):%Y-%m-%d}"
    ):
        site.refreshed()


def test_expiry_alone_can_be_set_aside(site: Site) -> None:
    later = NOW + timedelta(days=3000)
    trust = site.refreshed(now=later, check_expiry=False)
    assert trust.releases() == ["1"]
    site.path("metadata/timestamp.json").write_bytes(b"{}")
    with pytest.raises(VerificationFailed):
        site.refreshed(check_expiry=False)


def test_mix_and_match_of_two_true_states_is_refused(site: Site) -> None:
    old = site.save()
    site.pin("2", build_artifact(site.build))
    newest = site.newest("releases")
    mixed = (old / f"metadata/{newest - 1}.releases.json").read_bytes()
    site.path(f"metadata/{newest}.releases.json").write_bytes(mixed)
    with pytest.raises(VerificationFailed):
        site.refreshed()


def test_wrong_keys_of_another_root_are_refused(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    with pytest.raises(VerificationFailed, match="too few valid signatures"):
        Trust(site.store, tmp_path / "state", other.root).refresh()


def test_root_is_never_taken_from_the_store(site: Site, tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed):
        Trust(site.store, tmp_path / "state", b"{}").refresh()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "artifacts", "releases"])
def test_unsigned_metadata_is_refused(site: Site, role: str) -> None:
    """Signed by a key that is not the role's own; everything after it is signed well."""

    def touch(signed: Any) -> None:
        signed.unrecognized_fields["touched"] = True

    if role == "timestamp":
        path = site.path("metadata/timestamp.json")
        metadata = json.loads(path.read_bytes())
        metadata["signatures"] = []
        path.write_text(json.dumps(metadata))
    else:
        site.forge(role, touch, key="root" if role != "targets" else "artifacts")
    with pytest.raises(VerificationFailed, match="too few valid signatures"):
        site.refreshed()


def test_builder_key_signs_pins_and_is_refused(site: Site) -> None:
    site.forge("releases", lambda signed: None, key="artifacts")
    with pytest.raises(VerificationFailed, match="too few valid signatures"):
        site.refreshed()


def test_builder_signs_pins_in_its_own_role_and_is_ignored(site: Site) -> None:
    data = b'{"format":"1.0","release":"2","services":{}}\n'
    site.path("pins/2.json").write_bytes(data)
    site.forge(
        "artifacts", lambda signed: signed.targets.update({"pins/2.json": _target("pins/2.json", data)})
    )
    trust = site.refreshed()
    assert trust.releases() == ["1"]
    with pytest.raises(NotFound):
        trust.pins("2")


def test_manager_signs_an_artifact_in_its_own_role_and_is_ignored(site: Site) -> None:
    pin = pin_of(site)
    data = site.path(pin.manifest).read_bytes()
    path = pin.manifest.replace("artifacts/keystone/", "artifacts/other/")
    site.forge("releases", lambda signed: signed.targets.update({path: _target(path, data)}))
    forged = Pin(
        service=pin.service,
        target=pin.target,
        version=pin.version,
        manifest=path,
        length=pin.length,
        sha256=pin.sha256,
    )
    with pytest.raises(VerificationFailed, match="no builder signed it"):
        site.refreshed().manifest(forged)


def test_builder_signs_other_bytes_than_are_pinned(site: Site) -> None:
    """A stolen builder key replaces a pinned artifact; the pin still names the true bytes."""
    pin = pin_of(site)
    evil = compress(build_artifact(site.build, content=b"evil").artifact.to_json())
    site.path(pin.manifest).write_bytes(evil)
    site.forge("artifacts", lambda signed: signed.targets.update({pin.manifest: _target(pin.manifest, evil)}))
    with pytest.raises(VerificationFailed, match="pins and builders name different bytes"):
        site.refreshed().manifest(pin)


def test_swapped_manifest_is_refused(site: Site) -> None:
    pin = pin_of(site)
    original = site.path(pin.manifest).read_bytes()
    swapped = bytearray(original)
    swapped[-1] ^= 1
    site.path(pin.manifest).write_bytes(swapped)
    with pytest.raises(VerificationFailed):
        site.refreshed().manifest(pin)
    site.path(pin.manifest).write_bytes(original + b"x")
    with pytest.raises(VerificationFailed, match="larger than"):
        site.refreshed().manifest(pin)
    site.path(pin.manifest).unlink()
    with pytest.raises(NotFound):
        site.refreshed().manifest(pin)


def test_manifest_of_another_artifact_under_a_true_signature_is_refused(site: Site) -> None:
    """Builders and managers both sign nova's manifest under keystone's name."""
    pin = pin_of(site)
    nova = compress(build_artifact(site.build, "nova").artifact.to_json())
    site.path(pin.manifest).write_bytes(nova)
    target = _target(pin.manifest, nova)
    site.forge("artifacts", lambda signed: signed.targets.update({pin.manifest: target}))
    forged = Pin(
        service=pin.service,
        target=pin.target,
        version=pin.version,
        manifest=pin.manifest,
        length=target.length,
        sha256=target.hashes["sha256"],
    )
    with pytest.raises(VerificationFailed, match="describes nova"):
        site.refreshed().manifest(forged)


def test_altered_pins_are_refused(site: Site) -> None:
    path = site.path("pins/1.json")
    path.write_bytes(path.read_bytes().replace(b"28.0.0", b"28.0.1", 1))
    with pytest.raises(VerificationFailed):
        site.refreshed().pins("1")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "artifacts", "releases"])
def test_every_cut_and_flip_of_metadata_is_refused(site: Site, role: str) -> None:
    """A sample of truncations and single-bit flips; a host that refuses keeps refusing, and recovers."""
    name = "timestamp.json" if role == "timestamp" else f"{site.newest(role)}.{role}.json"
    path = site.path(f"metadata/{name}")
    original = path.read_bytes()
    step = max(1, len(original) // 12)
    damaged = [original[:cut] for cut in range(0, len(original), step)]
    for position in range(0, len(original), step):
        flipped = bytearray(original)
        flipped[position] ^= 1
        damaged.append(bytes(flipped))
    for number, data in enumerate(damaged):
        path.write_bytes(data)
        with pytest.raises((VerificationFailed, NotFound)):
            site.refreshed(f"fresh-{number}")
    path.write_bytes(original)
    site.refreshed("fresh-0")


def test_endless_data_is_cut_off(site: Site) -> None:
    with site.path("metadata/timestamp.json").open("ab") as stream:
        stream.truncate(200 * 1024 * 1024)
    with pytest.raises(VerificationFailed, match="larger than the 16384 bytes"):
        site.refreshed()


def test_a_gzip_bomb_is_cut_off() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    with pytest.raises(VerificationFailed, match="unpacks to more than 1000 bytes"):
        decompress(bomb, what="bomb", limit=1000)


@pytest.mark.parametrize("damage", [b"", b"x", b"\x1f\x8b", compress(b"x")[:-1], compress(b"x") + b"y"])
def test_damaged_gzip_is_refused(damage: bytes) -> None:
    with pytest.raises(VerificationFailed, match="damaged"):
        decompress(damage, what="document")


def test_gzip_is_read_by_others_and_depends_on_nothing_else() -> None:
    assert gzip.decompress(compress(b"document")) == b"document"
    assert compress(b"document")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"


@pytest.mark.parametrize(
    "name", ["timestamp.json", "snapshot.json", "targets.json", "artifacts.json", "root_history/1.root.json"]
)
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}"])
def test_truncated_metadata_cache_is_an_alarm(site: Site, name: str, content: bytes) -> None:
    """python-tuf alone takes a 0-byte timestamp.json for absent, and then accepts a rollback."""
    old = site.save()
    site.publish(build_artifact(site.build, "nova"))
    trust = site.refreshed()
    (trust.directory / name).write_bytes(content)
    site.play_back(old)
    with pytest.raises(VerificationFailed, match=r"trusted metadata .* is damaged") as caught:
        site.refreshed()
    assert str(trust.directory / name) in str(caught.value)
    assert f"remove {trust.directory} and run again" in str(caught.value)


def test_a_lost_timestamp_is_an_alarm(site: Site) -> None:
    (site.refreshed().directory / "timestamp.json").unlink()
    with pytest.raises(VerificationFailed, match=r"timestamp\.json is damaged: it is missing"):
        site.refreshed()


def test_missing_metadata_is_not_found(site: Site) -> None:
    site.path("metadata/timestamp.json").unlink()
    with pytest.raises(NotFound, match="not initialised, or its copy is incomplete"):
        site.refreshed()


def test_a_failing_store_is_unavailable(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise StoreUnavailable("no route to host")

    monkeypatch.setattr(type(site.store), "read", fail)
    with pytest.raises(StoreUnavailable, match="no route to host"):
        site.refreshed()


def test_state_is_private_and_per_store(site: Site, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = site.refreshed().directory
    finally:
        os.umask(before)
    assert first.stat().st_mode & 0o7777 == 0o700
    assert len(first.name) == 16
    other = Trust(open_store(str(tmp_path / "elsewhere")), tmp_path / "host", site.root)
    assert other.directory != first
    for path in first.rglob("*"):
        assert path.is_symlink() or path.is_dir() or not path.stat().st_mode & 0o133


def test_foreign_state_directory_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(Refused, match="belongs to user"):
        site.trust()


def test_one_instance_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tuf_client.hold_lock
    monkeypatch.setattr(tuf_client, "hold_lock", lambda path, *, what: real(path, what=what, timeout=0.05))
    trust = site.trust()
    with (
        real(trust.directory / "lock", what="test"),
        pytest.raises(Locked, match="in use by another process"),
    ):
        trust.refresh()
    trust.refresh()


def test_an_unchanged_store_is_refreshed_without_a_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.refreshed()

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("wrote")

    monkeypatch.setattr(updater, "write_atomically", forbidden)
    monkeypatch.setattr(tuf_client, "write_atomically", forbidden)
    monkeypatch.setattr(tuf_client, "sync_file_system", forbidden)
    site.refreshed()


def test_python_tuf_writes_through_our_durable_hooks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks are python-tuf's own methods; if it stops calling them, this fails."""
    written: list[str] = []
    real = updater.write_atomically

    def record(path: Path, data: bytes, *, mode: int, sync: bool) -> None:
        assert sync == (".bin-" not in path.name)  # those, read in bulk, are synced together
        written.append(path.name)
        real(path, data, mode=mode, sync=sync)

    synced: list[Path] = []
    monkeypatch.setattr(updater, "write_atomically", record)
    monkeypatch.setattr(tuf_client, "sync_file_system", synced.append)
    trust = site.refreshed()
    assert sorted(written) == sorted(
        ["1.root.json", "timestamp.json", "snapshot.json", "targets.json", "artifacts.json", "releases.json"]
    )
    assert {path.name for path in trust.directory.iterdir()} == {
        *written[1:],
        "root.json",
        "root_history",
        "lock",
    }
    assert (trust.directory / "root.json").readlink() == Path("root_history/1.root.json")
    assert synced == [trust.directory]
    assert list(trust.bins("artifacts")) == [name.removesuffix(".json") for name in written[6:]]
    assert written[6:]
    assert synced == [trust.directory, trust.directory]


def test_a_failed_sync_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(tuf_client, "sync_file_system", fail)
    with pytest.raises(HostUnsuitable, match="Input/output error"):
        site.refreshed()


def test_syncfs_works_and_reports_errors(tmp_path: Path) -> None:
    syncing.sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        syncing.sync_file_system(tmp_path / "missing")


def test_leftovers_of_killed_refreshes_are_swept(site: Site) -> None:
    directory = site.refreshed().directory
    (directory / ".tmp-0123").write_bytes(b"half")
    (directory / "root_history" / ".tmp-4567").write_bytes(b"half")
    site.refreshed()
    assert not list(directory.rglob(".tmp-*"))


def test_a_newer_root_is_followed(site: Site) -> None:
    """Root rotation: the old root signs the new one; hosts pinned to the old one follow."""
    site.refreshed()
    site.forge("root", lambda signed: signed.unrecognized_fields.update({"note": "second"}))
    assert site.refreshed().signed("root").version == 2
    assert (site.refreshed().directory / "root.json").readlink() == Path("root_history/2.root.json")


def test_the_error_table_covers_every_exception_of_python_tuf() -> None:
    rows = {foreign for foreign, _, _ in TABLE}
    public = {
        item
        for name, item in inspect.getmembers(tuf_exceptions, inspect.isclass)
        if issubclass(item, Exception) and not name.startswith("_")
    }
    assert public <= rows
    for item in public:
        error = item("detail", 500) if item is tuf_exceptions.DownloadHTTPError else item("detail")
        ours = translate(error, "file:///srv")
        assert isinstance(ours, VenvoyError)
        assert "file:///srv: detail; " in str(ours)
    for position, (foreign, _, _) in enumerate(TABLE):
        assert not any(issubclass(foreign, earlier) for earlier, _, _ in TABLE[:position]), foreign


def test_bugs_are_not_dressed_up_as_errors() -> None:
    assert translate(AssertionError("bug"), "x") is None


def test_hosts_verify_without_cryptography(site: Site, tmp_path: Path) -> None:
    """ed25519 has a pure Python fallback in securesystemslib; hosts rely on it."""
    (tmp_path / "root.json").write_bytes(site.root)
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from distributor.stores.location import open_store\n"
        "from distributor.trust.trust import Trust\n"
        "base = Path(sys.argv[1])\n"
        "root = (base / 'root.json').read_bytes()\n"
        "trust = Trust(open_store(sys.argv[1] + '/store'), base / 'bare', root)\n"
        "trust.refresh()\n"
        "print(trust.manifest(trust.pins('1').pins[0]).service)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "keystone\n"), done.stderr
    site.forge("artifacts", lambda signed: None, key="releases")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "too few valid signatures" in done.stderr


@pytest.mark.parametrize("publishes", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_reader_looping_during_publishes_sees_consistent_states_only(site: Site, publishes: int) -> None:
    """Every release that a reader finds has its pins and manifests, whole and signed."""
    program = (
        "import sys\n"
        "from tests.distributor.artifacts import *\n"
        "from pathlib import Path\n"
        "site = Site(Path(sys.argv[1]))\n"
        f"for number in range(2, {publishes + 2}):\n"
        "    built = build_artifact(site.build, 'nova', str(number))\n"
        "    site.publish(built)\n"
        "    site.pin(str(number), built)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(site.directory)], cwd=ROOT)
    seen: set[int] = set()
    while writer.poll() is None:
        trust = site.refreshed()
        releases = trust.releases()
        seen.add(len(releases))
        for release in releases:
            for pin in trust.pins(release).pins:
                artifact = trust.manifest(pin)
                assert site.store.size(artifact.tarball_path) == artifact.length
    assert writer.returncode == 0
    expected = sorted(str(number) for number in range(1, publishes + 2))
    assert site.refreshed().releases() == expected
    assert len(seen) > publishes // 6


def test_conformance_wrapper_refreshes_and_downloads(site: Site, tmp_path: Path) -> None:
    """Our client behind the command line of tuf-conformance, over real HTTP."""
    (tmp_path / "initial.json").write_bytes(site.root)
    (tmp_path / "metadata").mkdir()
    pin = pin_of(site)
    prefixed = tmp_path / "hashed" / pin.manifest.replace("keystone-28", f"{pin.sha256}.keystone-28")
    prefixed.parent.mkdir(parents=True)
    prefixed.write_bytes(site.path(pin.manifest).read_bytes())
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().split(' port ')[1].split()[0]}"

        def run(*arguments: str) -> int:
            client = [sys.executable, str(ROOT / "tests/conformance/tuf_client")]
            options = [
                "--metadata-dir",
                str(tmp_path / "metadata"),
                "--metadata-url",
                f"{url}/store/metadata",
            ]
            done = subprocess.run([*client, *options, *arguments], capture_output=True, check=False)
            return done.returncode

        target = ["--target-base-url", f"{url}/hashed", "--target-dir", str(tmp_path / "downloads")]
        (tmp_path / "downloads").mkdir()
        assert run("init", str(tmp_path / "initial.json")) == 0
        assert run("refresh") == 0
        names = {path.name for path in (tmp_path / "metadata").glob("*.json")}
        assert names == {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
        assert run("--target-name", pin.manifest, *target, "download") == 0
        (downloaded,) = (tmp_path / "downloads").iterdir()
        assert downloaded.read_bytes() == site.path(pin.manifest).read_bytes()
        assert run("--target-name", "nonexistent artifact", *target, "download") == 1
        prefixed.write_bytes(b"evil")
        downloaded.unlink()
        assert run("--target-name", pin.manifest, *target, "download") == 1
        assert not downloaded.exists()
    finally:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def test_signers_that_are_missing_are_named(site: Site) -> None:
    signers = load_signers(site.keys, ("artifacts",))
    repository = Repository(site.store, signers, root=site.root, state_dir=site.directory / "seen")
    with pytest.raises(NotFound, match="the key of role snapshot is needed"):
        repository.publish([build_artifact(site.build, "nova")])


def _target(path: str, data: bytes) -> TargetFile:
    return TargetFile.from_data(path, data, ["sha256"])
