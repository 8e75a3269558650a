"""python-tuf's client, made to read a store, to write durably, and to read hashed bins that are not there."""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import DownloadHTTPError, RepositoryError

from distributor.trust.canonical import load_verified, signed_bytes
from distributor.trust.tuf_api import FetcherInterface, Metadata, Targets, Updater
from manifests.atomic_file import sync_directory, temporary_name, write_atomically
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import ReadStore
    from distributor.trust.tuf_api import Signed, TargetFile


def family(role: str) -> str:
    """Return what *role* belongs to: ``artifacts.nova`` to ``artifacts``."""
    return role.partition(".")[0]


def empty_bin() -> Targets:
    """Return a bin that nobody signed yet: of version 0, so that the first one gets version 1."""
    empty = Targets()
    empty.version = 0
    return empty


class StoreFetcher(FetcherInterface):
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


class Bins(enum.Enum):
    """How a role's hashed bins are read where the store or the snapshot lacks them."""

    STRICT = enum.auto()
    """Not at all: as the specification has it, each bin must be there."""
    SPARSE = enum.auto()
    """A bin that the snapshot does not name is empty: bins come into being with what they sign."""
    PARTIAL = enum.auto()
    """As SPARSE; one that the store lacks signs nothing here: a bundle has what its own artifacts need."""
    REMEMBERED = enum.auto()
    """As SPARSE; what the store does not give is as it is kept here, in whatever version that is."""


class DurableUpdater(Updater):
    """python-tuf's client with writes that are on disk before the next one begins, and our reading of bins.

    python-tuf syncs nothing, rewrites the root each time, and unlinks ``root.json`` before it links
    it anew. The methods below are not of its public interface; a test holds that it calls them.
    """

    wrote = False
    bins = Bins.STRICT
    _in_bulk = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._trusted_set._load_data = load_verified  # type: ignore[assignment] # other names of parameters

    def responsible(self, path: str) -> tuple[str, Targets, str]:
        """Return the role that signs *path*, its metadata, and the role that delegates to it.

        Raises RepositoryError where no role may sign it.
        """
        role = self.delegate_of(path)
        if role is None:
            raise RepositoryError(f"no role may sign {path}")
        targets = self._load_targets(role, Targets.type)
        if targets.delegations is None or targets.delegations.succinct_roles is None:
            return role, targets, Targets.type
        name = targets.delegations.succinct_roles.get_role_for_target(path)
        return name, self._load_targets(name, role), role

    def delegate_of(self, path: str) -> str | None:
        """Return the first role to which ``targets`` delegates *path*: all of ours are terminating."""
        delegations = self._trusted_set.targets.delegations
        roles = delegations.get_roles_for_target(path) if delegations is not None else ()
        return next((name for name, _ in roles), None)

    def loaded(self, role: str) -> Signed:
        """Return the metadata of *role*, to which root or targets delegate."""
        known = self._trusted_set
        return known[role] if role in known else self._load_targets(role, Targets.type)

    def load_family(self, name: str) -> dict[str, TargetFile]:
        """Return all that is signed by *name* and by what belongs to it: roles ``name.*``, and their bins."""
        delegations = self._trusted_set.targets.delegations
        found: dict[str, TargetFile] = {}
        for role in (delegations.roles or ()) if delegations is not None else ():
            if family(role) == name:
                own = self._load_targets(role, Targets.type)
                for targets in (own, *self.load_bins(role).values()):
                    # What was delegated elsewhere since is no longer this role's to sign.
                    found |= {p: t for p, t in targets.targets.items() if self.delegate_of(p) == role}
        return found

    def load_bins(self, role: str) -> dict[str, Targets]:
        """Return the metadata of all bins of *role* that the snapshot names, by name."""
        delegations = self._load_targets(role, Targets.type).delegations
        if delegations is None or delegations.succinct_roles is None:
            return {}
        known = self._trusted_set.snapshot.meta
        names = (name for name in delegations.succinct_roles.get_roles() if f"{name}.json" in known)
        # A thousand of them; one that a power cut damages is read again. So they go to disk together, later.
        self._in_bulk = True
        try:
            return {name: self._load_targets(name, role) for name in names}
        finally:
            self._in_bulk = False

    def _load_targets(self, role: str, parent_role: str) -> Targets:
        if self.bins is Bins.STRICT or role == Targets.type:
            return super()._load_targets(role, parent_role)
        if self._is_bin(role, parent_role) and f"{role}.json" not in self._trusted_set.snapshot.meta:
            return empty_bin()
        try:
            return super()._load_targets(role, parent_role)
        except DownloadHTTPError:
            if self.bins is Bins.PARTIAL and self._is_bin(role, parent_role):
                return empty_bin()
            if self.bins is not Bins.REMEMBERED or not (Path(self._dir) / f"{role}.json").exists():
                raise
            return self._remembered(role, parent_role)

    def _is_bin(self, role: str, parent_role: str) -> bool:
        if parent_role not in self._trusted_set:
            return False
        parent = self._trusted_set[parent_role]
        delegations = parent.delegations if isinstance(parent, Targets) else None
        succinct = delegations.succinct_roles if delegations is not None else None
        return succinct is not None and succinct.is_delegated_role(role)

    def _remembered(self, role: str, parent_role: str) -> Targets:
        """Return *role* as it was verified here once: what it signed then, it signs for ever."""
        metadata = Metadata[Targets].from_bytes(self._load_local_metadata(role))
        parent = self._trusted_set[parent_role]
        if not isinstance(parent, Targets):
            raise RepositoryError(f"{parent_role} delegates to nobody")
        parent.verify_delegate(role, signed_bytes(metadata.signed), metadata.signatures)
        return metadata.signed

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return
        self.wrote = True
        write_atomically(path, data, mode=0o600, sync=not self._in_bulk)

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
