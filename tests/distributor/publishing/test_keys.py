from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distributor.publishing.keys import PASSPHRASE, ROLES, create_keys, key_path, load_signers
from manifests.errors import HostUnsuitable, InvalidInput, NotFound, Refused, StoreUnavailable

ROOT = Path(__file__).parents[3]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    create_keys(directory)
    return directory


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_keys_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_keys(tmp_path / "keys")
    finally:
        os.umask(before)
    assert (tmp_path / "keys").stat().st_mode & 0o7777 == 0o700
    for role in ROLES:
        assert key_path(tmp_path / "keys", role).stat().st_mode & 0o7777 == 0o600


def test_public_halves_are_listed_and_private_ones_are_not(keys: Path) -> None:
    text = (keys / "keys.json").read_text()
    listed = json.loads(text)["keys"]
    signers = load_signers(keys, ROLES)
    assert {role: listed[role]["keyid"] for role in ROLES} == {
        role: signer.public_key.keyid for role, (signer,) in signers.items()
    }
    assert len({signer.public_key.keyid for (signer,) in signers.values()}) == len(ROLES)
    for (signer,) in signers.values():
        assert signer.private_bytes.splitlines()[1].decode() not in text


def test_existing_keys_are_kept_and_missing_ones_are_made(keys: Path) -> None:
    kept = key_path(keys, "root").read_bytes()
    key_path(keys, "releases").unlink()
    (keys / "keys.json").unlink()
    create_keys(keys)
    assert key_path(keys, "root").read_bytes() == kept
    assert json.loads((keys / "keys.json").read_text())["keys"].keys() == set(ROLES)


def test_only_the_keys_asked_for_are_read(keys: Path) -> None:
    for role in ("root", "targets", "releases"):
        key_path(keys, role).unlink()
    assert set(load_signers(keys, ("artifacts", "snapshot", "timestamp"))) == {
        "artifacts",
        "snapshot",
        "timestamp",
    }
    with pytest.raises(NotFound, match=r"no key .*releases\.pem: name the right directory with --keys"):
        load_signers(keys, ("releases",))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_key_that_others_can_read_is_refused(keys: Path, mode: int) -> None:
    path = key_path(keys, "artifacts")
    path.chmod(mode)
    with pytest.raises(Refused, match=f"chmod 600 {path}"):
        load_signers(keys, ("artifacts",))


def test_a_key_that_others_can_read_is_refused_through_a_link(keys: Path, tmp_path: Path) -> None:
    path = key_path(keys, "artifacts")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    load_signers(keys, ("artifacts",))
    (tmp_path / "elsewhere").chmod(0o644)
    with pytest.raises(Refused):
        load_signers(keys, ("artifacts",))


def test_a_directory_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(Refused, match="open to other users"):
        create_keys(tmp_path / "keys")
    assert not list((tmp_path / "keys").iterdir())


def test_a_passphrase_encrypts_and_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setenv(PASSPHRASE, "CANARY pass phrase")
    create_keys(keys)
    assert b"ENCRYPTED" in key_path(keys, "root").read_bytes()
    assert load_signers(keys, ("root",))
    for value in ("", "CANARY wrong"):
        monkeypatch.setenv(PASSPHRASE, value)
        with pytest.raises(InvalidInput, match="VENVOY_KEY_PASSPHRASE is wrong or not set") as caught:
            load_signers(keys, ("root",))
        assert "CANARY" not in str(caught.value)


def test_a_passphrase_does_not_disturb_plain_keys(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "x")
    assert load_signers(keys, ("root",))


@pytest.mark.parametrize(
    "content", [b"", b"CANARY", b"-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_not_repeated(keys: Path, content: bytes) -> None:
    key_path(keys, "root").write_bytes(content)
    with pytest.raises(InvalidInput, match="not a PEM private key") as caught:
        load_signers(keys, ("root",))
    assert "CANARY" not in str(caught.value)


def test_other_kinds_of_key_are_refused(keys: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(SECP256R1())
    key_path(keys, "root").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InvalidInput, match="not an ed25519 key"):
        load_signers(keys, ("root",))


def test_without_cryptography_the_error_says_what_to_install(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for attempt in (lambda: create_keys(keys), lambda: load_signers(keys, ("root",))):
        with pytest.raises(HostUnsuitable, match=r"install venvoy\[sign\]"):
            attempt()


def test_two_at_once_make_one_set_of_keys(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from distributor.publishing.keys import *; "
        "create_keys(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "keys")]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    listed = json.loads((tmp_path / "keys" / "keys.json").read_text())["keys"]
    signers = load_signers(tmp_path / "keys", ROLES)
    assert {role: item["keyid"] for role, item in listed.items()} == {
        role: signer.public_key.keyid for role, (signer,) in signers.items()
    }


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    from datetime import datetime, timezone

    from distributor.publishing.initialisation import initialise
    from distributor.stores.directory import DirectoryStore

    keys = tmp_path / "keys"
    left = keys / ".tmp-0123456789abcdef"
    for _ in ("without keys", "with all of them"):
        keys.mkdir(mode=0o700, exist_ok=True)
        left.write_text("a private key")
        (keys / ".tmp-mine").touch()
        initialise(DirectoryStore(tmp_path / "store"), keys, now=datetime.now(timezone.utc))
        assert not left.exists()
        assert (keys / ".tmp-mine").exists()  # no name of ours


def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "root.pem")

    monkeypatch.setattr("distributor.publishing.keys.write_atomically", full)
    with pytest.raises(StoreUnavailable) as caught:
        create_keys(tmp_path / "keys")
    assert str(caught.value) == f"cannot write keys into {tmp_path}/keys: No space left on device (root.pem)"
