"""Where keys, the first trust and what was seen lie when nobody says otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from manifests.errors import NotFound, Refused, StoreUnavailable

SYSTEM_ROOT = Path("/etc/venvoy/root.json")
SYSTEM_STATE = Path("/var/lib/venvoy")


def default_keys_directory() -> Path:
    """Return where keys lie unless ``--keys`` or VENVOY_KEYS says otherwise."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "venvoy" / "keys"


def default_state_directory() -> Path:
    """Return where trusted metadata is remembered: the system's place for root, else the user's."""
    return SYSTEM_STATE if os.geteuid() == 0 else _xdg("XDG_STATE_HOME", ".local/state") / "venvoy"


def read_root(path: Path | None) -> bytes:
    """Return the first trust: the file *path*, or the host's own, or else that of the default keys.

    It never comes from a store. Raises NotFound saying how a host gets one.
    """
    places = [path] if path is not None else [SYSTEM_ROOT, default_keys_directory() / "root.json"]
    for place in places:
        try:
            return place.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreUnavailable(f"cannot read {place}: {error.strerror}") from error
    raise NotFound(
        f"no trusted root at {' or '.join(map(str, places))}: copy root.json from where 'venvoy init' "
        "ran, or name it with --root (it is never taken from the store)"
    )


def private_directory(path: Path, *, tighten: bool) -> Path:
    """Make *path* a directory that only its owner may enter, and return it.

    One that is open to others is closed if *tighten*, else refused. Raises Refused also where it
    belongs to somebody else, StoreUnavailable where it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid():
            raise Refused(f"{path} belongs to user {status.st_uid}; run as that user, or name another one")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if not tighten:
                raise Refused(f"{path} is open to other users: 'chmod 700 {path}' if it is meant for keys")
            path.chmod(0o700)
    except OSError as error:
        raise StoreUnavailable(f"cannot use the directory {path}: {error.strerror}") from error
    return path


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback
