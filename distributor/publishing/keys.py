"""A directory of signing keys, by role, readable by its owner alone.

::

    ROLE.pem  ROLE@LABEL.pem                 ed25519 keys in files (PKCS #8), encrypted or not
    ROLE.signer.json  ROLE@LABEL.signer.json   keys elsewhere: in a token, in a key service

``keys.json`` lists the public halves that ``init`` made. No private byte is ever printed, nor in an error.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from distributor.places import private_directory
from distributor.publishing.key_files import PASSPHRASE, generate_key, load_key, missing_key
from distributor.system.disk_errors import disk_errors
from distributor.system.file_lock import hold_lock
from manifests.atomic_file import TEMPORARY_PREFIX, write_atomically
from manifests.documents import canonical_json
from manifests.errors import HostUnsuitable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from distributor.trust.tuf_api import Signer

ROLES = ("root", "targets", "snapshot", "timestamp", "artifacts", "releases")
_FORMAT = "1.0"
_LABEL = r"[a-z0-9][a-z0-9_-]*"
_FILE = re.compile(rf"(?P<role>[a-z]+(\.{_LABEL})?)(@(?P<label>{_LABEL}))?\.(pem|signer\.json)")
__all__ = ["PASSPHRASE", "ROLES", "create_keys", "key_files", "key_path", "load_signers"]
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{16}")


def key_path(directory: Path, role: str, label: str | None = None) -> Path:
    """Return where the private key of *role* lies, or its further one called *label*."""
    return directory / f"{role}{f'@{label}' if label else ''}.pem"


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
    there = key_files(directory)
    for role in ROLES:
        if role not in there:
            write_atomically(key_path(directory, role), generate_key(), mode=0o600)
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


def load_signers(
    directory: Path, roles: Iterable[str], *, optional: Iterable[str] = ()
) -> dict[str, list[Signer]]:
    """Return the signers of each of *roles*, and of *optional* where there are any, reading no other key.

    ``artifacts`` brings those of ``artifacts.SERVICE`` along. Raises NotFound for a role without a key,
    Refused for a key that others can read, InvalidInput for a wrong passphrase or another kind of key,
    HostUnsuitable where a library lacks.
    """
    _require_cryptography()
    files = key_files(directory)
    found: dict[str, list[Signer]] = {}
    for role in (*roles, *optional):
        members = [name for name in files if name == role or name.startswith(f"{role}.")]
        if not members and role not in optional:
            raise missing_key(key_path(directory, role))
        for name in members:
            found[name] = [_load(path) for path in files[name]]
    return found


def key_files(directory: Path) -> dict[str, list[Path]]:
    """Return the files of keys in *directory* by role, the one without a label first."""
    found: dict[str, list[Path]] = {}
    try:
        paths = sorted(directory.iterdir(), key=lambda path: path.name.replace("@", "~"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreUnavailable(f"cannot read the keys in {directory}: {error.strerror}") from error
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match is not None:
            found.setdefault(match["role"], []).append(path)
    return found


def _load(path: Path) -> Signer:
    if path.suffix == ".pem":
        return load_key(path)
    from distributor.publishing.signer_uris import load_remote

    return load_remote(path)


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise HostUnsuitable(
            "signing needs the 'cryptography' package, which hosts do without: install venvoy[sign]"
        ) from None
