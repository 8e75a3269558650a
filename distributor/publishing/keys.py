"""A directory of signing keys: one ed25519 key for each role, readable by its owner alone.

Private keys are PEM (PKCS #8), encrypted where VENVOY_KEY_PASSPHRASE is set. ``keys.json`` lists the
public halves. No private byte is ever printed or put into an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from distributor.places import private_directory
from distributor.system.disk_errors import disk_errors
from distributor.system.file_lock import hold_lock
from manifests.atomic_file import TEMPORARY_PREFIX, write_atomically
from manifests.documents import canonical_json
from manifests.errors import HostUnsuitable, InvalidInput, NotFound, Refused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from distributor.trust.tuf_api import CryptoSigner

ROLES = ("root", "targets", "snapshot", "timestamp", "artifacts", "releases")
PASSPHRASE = "VENVOY_KEY_PASSPHRASE"  # noqa: S105 - the variable's name, not its value
_FORMAT = "1.0"
_MAX_KEY_BYTES = 64 * 1024
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{16}")


def key_path(directory: Path, role: str) -> Path:
    """Return where the private key of *role* lies."""
    return directory / f"{role}.pem"


def create_keys(directory: Path) -> None:
    """Make the keys that *directory* lacks, and ``keys.json``. Safe to repeat after an interruption.

    Raises Refused where the directory is open to others, HostUnsuitable without ``cryptography``,
    StoreUnavailable where the disk fails.
    """
    with exclusive_keys(directory):
        make_keys(directory)


@contextlib.contextmanager
def exclusive_keys(directory: Path) -> Iterator[None]:
    """Hold the lock of *directory*, which is made where it lacks, with the leavings of killed runs swept.

    Raises as ``create_keys`` does; an OSError of the caller becomes StoreUnavailable too.
    """
    _require_cryptography()
    private_directory(directory, tighten=False)
    with (
        disk_errors(f"write keys into {directory}", StoreUnavailable),
        hold_lock(directory / "lock", what=f"key directory {directory}"),
    ):
        for path in leavings(directory):
            path.unlink(missing_ok=True)
        yield


def leavings(directory: Path) -> list[Path]:
    """Return what killed writers left in *directory*: each may hold a private key, or half of one."""
    return [path for path in directory.iterdir() if _TEMPORARY.fullmatch(path.name)]


def make_keys(directory: Path) -> None:
    """Make what lacks, as ``create_keys``; the caller holds the lock. Raises OSError."""
    for role in ROLES:
        path = key_path(directory, role)
        if not path.exists():
            write_atomically(path, _generate(), mode=0o600)
    signers = load_signers(directory, ROLES)
    public = {
        role: {
            "keyid": signer.public_key.keyid,
            "keytype": signer.public_key.keytype,
            "scheme": signer.public_key.scheme,
            "public": signer.public_key.keyval["public"],
        }
        for role, (signer, *_) in signers.items()
    }
    write_atomically(directory / "keys.json", canonical_json({"format": _FORMAT, "keys": public}))


def load_signers(directory: Path, roles: Iterable[str]) -> dict[str, list[CryptoSigner]]:
    """Return the signers of each of *roles*, reading no other key.

    Raises NotFound for a missing key, Refused for one that others can read, InvalidInput for a wrong
    passphrase or another kind of key, HostUnsuitable without ``cryptography``.
    """
    _require_cryptography()
    return {role: [_load(key_path(directory, role))] for role in roles}


def _load(path: Path) -> CryptoSigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from distributor.trust.tuf_api import CryptoSigner

    data = _read_private(path)
    encrypted = b"ENCRYPTED PRIVATE KEY" in data
    try:
        key = load_pem_private_key(data, _passphrase() if encrypted else None)
    except (ValueError, TypeError):
        hint = f"{PASSPHRASE} is wrong or not set" if encrypted else "it is not a PEM private key"
        raise InvalidInput(f"cannot read the key {path}: {hint}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(f"{path} is not an ed25519 key; hosts without 'cryptography' verify no other")
    return CryptoSigner(key)


def _read_private(path: Path) -> bytes:
    """Read a private key; its mode is asked of the file that is read, not of the name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is not a plain file")
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise Refused(
                    f"other users may read the private key {path}: 'chmod 600 {path}', or replace it"
                )
            return stream.read(_MAX_KEY_BYTES)
    except FileNotFoundError:
        raise NotFound(
            f"no key {path}: name the right directory with --keys, or run this where that key is kept"
        ) from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read the key {path}: {error.strerror}") from error


def _generate() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    passphrase = _passphrase()
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _passphrase() -> bytes | None:
    return os.environb.get(PASSPHRASE.encode()) or None


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise HostUnsuitable(
            "signing needs the 'cryptography' package, which hosts do without: install venvoy[sign]"
        ) from None
