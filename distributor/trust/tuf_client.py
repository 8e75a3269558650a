"""One python-tuf client over one directory of trusted metadata.

python-tuf decides what to trust. This module gives it what it leaves to its caller: one instance at
a time (a lock), writes that survive a power cut, an alarm where cached metadata is damaged (python-tuf
would take it for absent, and so accept a rollback), bounded reads, and errors in our words.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tuf.api.exceptions import ExpiredMetadataError, LengthOrHashMismatchError
from tuf.api.serialization import DeserializationError

from distributor.system.file_lock import hold_lock
from distributor.system.syncing import sync_file_system
from distributor.trust.cached_metadata import DOCUMENTS, check_cache
from distributor.trust.tuf_api import Metadata, Targets, UpdaterConfig
from distributor.trust.tuf_errors import translated
from distributor.trust.updater import Bins, DurableUpdater, StoreFetcher
from manifests.atomic_file import sync_directory, write_atomically
from manifests.documents import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from distributor.stores.interface import ReadStore
    from distributor.trust.tuf_api import Signed, TargetFile

METADATA = "metadata"
"""The folder of a store that holds TUF metadata."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

NO_EXPIRY = datetime.min.replace(tzinfo=timezone.utc)
"""The clock for checks of signatures and versions alone: nothing has expired yet."""


class TufClient:
    """Reads *store* as the pinned *root* allows, remembering in *directory* what it saw.

    *clock* replaces the present time; ``NO_EXPIRY`` asks for no freshness. *hashed_names* fetches
    targets as ``<hash>.<name>``; Venvoy's own are immutable and need none, so that with *remember* what
    was read once is kept and read without the store. *bins* says how hashed bins are read.
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
        bins: Bins = Bins.STRICT,
    ) -> None:
        self._store = store
        self._directory = directory
        self._root = root
        self._clock = clock
        self._hashed_names = hashed_names
        self._remember = remember
        self._bins = bins
        self._fetcher = StoreFetcher(store)
        self._updater: DurableUpdater | None = None

    def refresh(self, *, load: Iterable[str] = ()) -> None:
        """Bring trusted metadata up to date, and that of the roles *load*, which ``targets`` delegates to.

        Raises VerificationFailed for anything unsigned, altered, rolled back, mixed, frozen or damaged
        here; NotFound for missing metadata; StoreUnavailable; Locked.
        """
        with self._session():
            check_cache(self._directory)
            updater = DurableUpdater(
                str(self._directory),
                METADATA,
                fetcher=self._fetcher,
                config=UpdaterConfig(
                    targets_max_length=MAX_DOCUMENT_BYTES, prefix_targets_with_hash=self._hashed_names
                ),
                bootstrap=self._root,
            )
            updater.bins = self._bins
            self._updater = updater
            if self._clock is not None:
                updater._trusted_set.reference_time = self._clock
            updater.refresh()
            for role in load:
                updater._load_targets(role, "targets")

    def find(self, path: str) -> TargetFile | None:
        """Return what is signed for *path* by the role that may sign it, or None."""
        return self.find_all([path]).get(path)

    def find_all(self, paths: Iterable[str]) -> dict[str, TargetFile]:
        """Return what is signed for each of *paths*; those for which nothing is are left out."""
        with self._session():
            updater = self._refreshed()
            found = {path: updater.get_targetinfo(path) for path in paths}
        return {path: target for path, target in found.items() if target is not None}

    def find_family(self, name: str) -> dict[str, TargetFile]:
        """Return all that is signed by role *name*, by roles ``name.*``, and by their bins."""
        with self._session():
            return self._refreshed().load_family(name)

    def bins(self, role: str) -> dict[str, Targets]:
        """Return the metadata of all bins of *role* that the snapshot names, by name."""
        with self._session():
            return self._refreshed().load_bins(role)

    def delegate_of(self, path: str) -> str | None:
        """Return the role to which ``targets`` delegates *path*, or None."""
        return self._refreshed().delegate_of(path)

    def responsible(self, path: str) -> tuple[str, Targets, str]:
        """Return the role that signs *path*, its metadata, and the role that delegates to it.

        A bin that nobody signed yet is one of version 0.
        """
        with self._session():
            return self._refreshed().responsible(path)

    def read(self, target: TargetFile, *, keep: bool = True) -> bytes:
        """Return the bytes of *target*, never reading more than its signed length.

        Without *keep* they are not remembered here: for whoever reads thousands, once. Raises NotFound
        where they are missing, VerificationFailed where they are not what was signed.
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
        if not keep:
            return data
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

    def loaded(self, role: str) -> Signed:
        """Return the trusted metadata of *role*, read if it was not yet."""
        with self._session():
            return self._refreshed().loaded(role)

    def targets_of(self, role: str) -> Mapping[str, TargetFile]:
        """Return all that the loaded *role* signs, by path."""
        signed = self.signed(role)
        if not isinstance(signed, Targets):
            raise TypeError(f"{role} signs no targets")
        return signed.targets

    def _refreshed(self) -> DurableUpdater:
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


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
