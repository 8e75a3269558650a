"""Where the cache of wheels and layers lies, and which one it is."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from manifests.atomic_file import temporary_name
from manifests.errors import StoreUnavailable

_IDENTITY = re.compile(r"[0-9a-f]{32}\n")


def default_cache() -> Path:
    """Return the user's own cache, ``~/.cache/venvoy`` unless XDG_CACHE_HOME says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "venvoy"


def cache_identity(root: Path) -> str:
    """Return what tells the cache at *root* from every other, on whatever path a machine mounts it.

    It is made at the first call; of two makers one wins. Raises StoreUnavailable.
    """
    path = root / "cache-id"
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        root.mkdir(parents=True, exist_ok=True)
        temporary = root / temporary_name()
        try:
            temporary.write_text(f"{secrets.token_hex(16)}\n", encoding="ascii")
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(temporary)  # unlike a rename, this never replaces another's
        finally:
            temporary.unlink(missing_ok=True)
        return _read(path)
    except OSError as error:
        raise StoreUnavailable(f"the cache {root} cannot be used: {error.strerror}") from error


def _read(path: Path) -> str:
    text = path.read_text(encoding="ascii", errors="replace")
    if not _IDENTITY.fullmatch(text):
        raise StoreUnavailable(f"{path} is damaged; remove it while nothing builds")
    return text.strip()
