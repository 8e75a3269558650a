"""Private keys in files: ed25519, PEM (PKCS #8), readable by their owner alone, encrypted by a passphrase."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from distributor.trust.tuf_api import CryptoSigner

PASSPHRASE = "VENVOY_KEY_PASSPHRASE"  # noqa: S105 - the variable's name, not its value
_MAX_KEY_BYTES = 64 * 1024


def load_key(path: Path) -> CryptoSigner:
    """Return the signer of the private key in the file *path*. Raises as ``keys.load_signers`` does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from distributor.trust.tuf_api import CryptoSigner

    data = _read_private(path)
    encrypted = b"ENCRYPTED PRIVATE KEY" in data
    try:
        key = load_pem_private_key(data, passphrase(path) if encrypted else None)
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
        raise missing_key(path) from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read the key {path}: {error.strerror}") from error


def generate_key() -> bytes:
    """Return a new private key as PEM, encrypted where there is a passphrase."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    secret = passphrase()
    encryption: KeySerializationEncryption = NoEncryption()
    if secret is not None:
        encryption = BestAvailableEncryption(secret)
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def passphrase(path: Path | None = None) -> bytes | None:
    """Return the passphrase of VENVOY_KEY_PASSPHRASE, or ask at the terminal where *path* needs one."""
    found = os.environb.get(PASSPHRASE.encode())
    if not found and path is not None and sys.stdin is not None and sys.stdin.isatty():
        found = getpass.getpass(f"passphrase of {path}: ").encode()
    return found or None


def missing_key(path: Path) -> NotFound:
    """Return the error for a key that is not there."""
    return NotFound(
        f"no key {path}: name the right directory with --keys, or run this where that key is kept"
    )
