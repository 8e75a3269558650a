"""The trusted metadata that is remembered on this host: swept, synced, and checked for damage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tuf.api.serialization import DeserializationError

from distributor.trust.tuf_api import Metadata, Targets
from manifests.atomic_file import TEMPORARY_PREFIX, sync_directory
from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = "documents"
"""The folder, beside trusted metadata, of the documents that were verified here, by their sha256."""

BIN = re.compile(r"[^/]+\.bin-[0-9a-f]+\.json")
"""What the cached metadata of a hashed bin is called."""


def check_cache(directory: Path) -> None:
    """Sweep what killed writers left, and raise VerificationFailed where trusted metadata is damaged.

    python-tuf takes damaged metadata for absent. Its versions are what a rollback is noticed by, so
    for us damage is an alarm. Hashed bins are not looked at: the snapshot holds their versions, and a
    damaged one is fetched again.
    """
    history = directory / "root_history"
    if not history.is_dir():
        history.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory)
    for path in (
        *sorted(directory.iterdir()),
        *sorted(history.iterdir()),
        *directory.glob(f"{DOCUMENTS}/.*"),
    ):
        if path.name.startswith(TEMPORARY_PREFIX):
            path.unlink(missing_ok=True)
        elif path.suffix == ".json" and not path.is_symlink() and not BIN.fullmatch(path.name):
            _check_cached(path)
    # A killed run may have shown names that are not on disk yet; what builds on them must not be first.
    for folder in (history, directory / DOCUMENTS, directory, directory.parent, directory.parent.parent):
        if folder.is_dir():
            sync_directory(folder)
    if (directory / "snapshot.json").exists() and not (directory / "timestamp.json").exists():
        raise _damaged(directory / "timestamp.json", "it is missing, though snapshot.json is there")


def _check_cached(path: Path) -> None:
    try:
        Metadata[Targets].from_bytes(path.read_bytes())
    except OSError as error:
        raise _damaged(path, error.strerror or "unreadable") from error
    except DeserializationError:
        why = "it is empty" if path.stat().st_size == 0 else "it is not metadata"
        raise _damaged(path, why) from None


def _damaged(path: Path, why: str) -> VerificationFailed:
    folder = path.parent.parent if path.parent.name == "root_history" else path.parent
    return VerificationFailed(
        f"trusted metadata {path} is damaged: {why}. Without it a rollback would go unnoticed, so nothing "
        f"was done. Find out why; then remove {folder} and run again, trusting the store's present state"
    )
