"""One python-tuf client over one directory of trusted metadata.

python-tuf decides what to trust. This module gives it what it leaves to its caller: one instance at
a time (a lock), writes that survive a power cut, an alarm where cached metadata is damaged (python-tuf
would take it for absent, and so accept a rollback), bounded reads, and errors in our words.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, LengthOrHashMismatchError
from tuf.api.serialization import DeserializationError

from distributor.system.file_lock import hold_lock
from distributor.system.syncing import sync_file_system
from distributor.trust.tuf_api import FetcherInterface, Metadata, Targets, Updater, UpdaterConfig
from distributor.trust.tuf_errors import translated
from manifests.atomic_file import TEMPORARY_PREFIX, sync_directory, temporary_name, write_atomically
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from distributor.stores.interface import ReadStore
    from distributor.trust.tuf_api import Signed, TargetFile

METADATA = "metadata"
"""The folder of a store that holds TUF metadata."""

DOCUMENTS = "documents"
"""The folder, beside trusted metadata, of the documents that were verified here, by their sha256."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

NO_EXPIRY = datetime.min.replace(tzinfo=timezone.utc)
"""The clock for checks of signatures and versions alone: nothing has expired yet."""


class TufClient:
    """Reads *store* as the pinned *root* allows, remembering in *directory* what it saw.

    *clock* replaces the present time; ``NO_EXPIRY`` asks for no freshness. *hashed_names* fetches
    targets as ``<hash>.<name>``; Venvoy's own are immutable and need none, so that with *remember* what
    was read once is kept and read without the store.
    """

    def __init__(  # noqa: PLR0913 - a store, its memory, its trust, and three ways to read it
        self,
        store: ReadStore,
        directory: Path,
        root: bytes,
        *,
        clock: datetime | None = None,
        hashed_names: bool = False,
        remember: bool = False,
    ) -> None:
        self._store = store
        self._directory = directory
        self._root = root
        self._clock = clock
        self._hashed_names = hashed_names
        self._remember = remember
        self._fetcher = _StoreFetcher(store)
        self._updater: _DurableUpdater | None = None

    def refresh(self, *, load: Iterable[str] = ()) -> None:
        """Bring trusted metadata up to date; then load the roles that answer for the paths *load*.

        Raises VerificationFailed for anything unsigned, altered, rolled back, mixed, frozen or damaged
        here; NotFound for missing metadata; StoreUnavailable; Locked.
        """
        with self._session():
            check_cache(self._directory)
            updater = _DurableUpdater(
                str(self._directory),
                METADATA,
                fetcher=self._fetcher,
                config=UpdaterConfig(
                    targets_max_length=MAX_DOCUMENT_BYTES, prefix_targets_with_hash=self._hashed_names
                ),
                bootstrap=self._root,
            )
            self._updater = updater
            if self._clock is not None:
                updater._trusted_set.reference_time = self._clock
            updater.refresh()
            for path in load:
                updater.get_targetinfo(path)

    def find(self, path: str) -> TargetFile | None:
        """Return what is signed for *path* by the role that may sign it, or None."""
        with self._session():
            return self._refreshed().get_targetinfo(path)

    def read(self, target: TargetFile) -> bytes:
        """Return the bytes of *target*, never reading more than its signed length.

        Raises NotFound where they are missing, VerificationFailed where they are not what was signed.
        """
        digest = target.hashes.get("sha256", "")
        # Builders sign the digest, and may be anybody: it must not name another file.
        if not self._remember or not _DIGEST.fullmatch(digest):
            return self._fetch_target(target)
        remembered = self._directory / DOCUMENTS / digest
        with contextlib.suppress(OSError), remembered.open("rb") as stream:
            data = stream.read(target.length + 1)
            if self.is_target(target, data):
                return data
        data = self._fetch_target(target)
        with self._session():  # alone: who else comes sweeps temporary files
            remembered.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
            write_atomically(remembered, data, mode=0o600)
        return data

    def _fetch_target(self, target: TargetFile) -> bytes:
        path = target.path
        if self._hashed_names and self._refreshed()._trusted_set.root.consistent_snapshot:
            folder, slash, name = path.rpartition("/")
            path = f"{folder}{slash}{next(iter(target.hashes.values()))}.{name}"
        data = self._store.read(path, limit=target.length)
        with translated(self._store.location, lambda error: f"{path}: {error}"):
            target.verify_length_and_hashes(data)
        return data

    def is_target(self, target: TargetFile, data: bytes) -> bool:
        """Say whether *data* is what was signed as *target*."""
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError:
            return False
        return True

    def signed(self, role: str) -> Signed:
        """Return the trusted metadata of *role*; a delegated role must have been loaded."""
        return self._refreshed()._trusted_set[role]

    def targets_of(self, role: str) -> Mapping[str, TargetFile]:
        """Return all that the loaded *role* signs, by path."""
        signed = self.signed(role)
        if not isinstance(signed, Targets):
            raise TypeError(f"{role} signs no targets")
        return signed.targets

    def _refreshed(self) -> _DurableUpdater:
        if self._updater is None:
            raise RuntimeError("refresh() comes first")
        return self._updater

    @contextlib.contextmanager
    def _session(self) -> Iterator[None]:
        """One use of python-tuf: alone, with our errors, and on disk at the end whatever happened."""
        location = self._store.location
        with (
            translated(location, self._describe),
            hold_lock(self._directory / "lock", what=f"trusted metadata of {location}"),
        ):
            try:
                yield
            finally:
                if self._updater is not None and self._updater.wrote:
                    self._updater.wrote = False
                    sync_file_system(self._directory)

    def _describe(self, error: Exception) -> str:
        """Word *error*; where something expired, print its clock and this host's."""
        if not isinstance(error, ExpiredMetadataError) or self._updater is None:
            return str(error)
        trusted = self._updater._trusted_set
        known: list[Signed] = list(trusted)
        with contextlib.suppress(DeserializationError):
            known.append(Metadata[Targets].from_bytes(self._fetcher.latest).signed)
        moments = {signed.expires for signed in known if signed.is_expired(trusted.reference_time)}
        expiry = ", ".join(_utc(moment) for moment in sorted(moments)) or "unknown"
        return f"{error} (expiry {expiry}; this host's clock {_utc(trusted.reference_time)})"


def check_cache(directory: Path) -> None:
    """Sweep what killed writers left, and raise VerificationFailed where trusted metadata is damaged.

    python-tuf takes damaged metadata for absent. Its versions are what a rollback is noticed by, so
    for us damage is an alarm.
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
        elif path.suffix == ".json" and not path.is_symlink():
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


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


class _StoreFetcher(FetcherInterface):
    """Gives python-tuf a store's objects; our own errors pass through it."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self.latest = b""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the object at the store path *url*, of *max_length* bytes at most."""
        try:
            self.latest = self._store.read(url, limit=max_length)
        except NotFound as error:
            raise DownloadHTTPError(str(error), 404) from error
        return self.latest

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, MAX_DOCUMENT_BYTES)


class _DurableUpdater(Updater):
    """python-tuf's client with writes that are on disk before the next one begins.

    python-tuf syncs nothing, rewrites the root each time, and unlinks ``root.json`` before it links
    it anew. The methods below are not of its public interface; a test holds that it calls them.
    """

    wrote = False

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return
        self.wrote = True
        write_atomically(path, data, mode=0o600)

    def _update_root_symlink(self) -> None:
        link = Path(self._dir) / "root.json"
        wanted = f"root_history/{self._trusted_set.root.version}.root.json"
        if link.is_symlink() and link.readlink() == Path(wanted):
            return
        self.wrote = True
        temporary = link.with_name(temporary_name())
        temporary.symlink_to(wanted)
        temporary.replace(link)
        sync_directory(link.parent)
