"""Signing as a release manager, away from the store: what would be written is collected instead.

A manager needs the key of releases and can read the store. Whoever publishes there has the online keys
that show it to hosts (``distributor.publishing.forwarding``), and can change nothing of it.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.places import read_root
from distributor.publishing.initialisation import ROOT_FILE
from distributor.publishing.keys import load_signers
from distributor.publishing.metadata_writer import MetadataWriter, expect
from distributor.publishing.repository import Repository
from distributor.trust.canonical import file_bytes, signed_bytes
from distributor.trust.roles import add_signatures, expiry
from distributor.trust.trust import RELEASES
from distributor.trust.tuf_api import Metadata, Targets
from manifests.documents import sha256_bytes
from manifests.errors import NotFound, Refused
from manifests.proposal import Proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.publishing.metadata_writer import Changes
    from distributor.stores.interface import Digest, ReadStore, Store
    from distributor.trust.trust import Trust


def open_proposing(store: ReadStore, keys_dir: Path) -> tuple[Repository, Callable[[], Proposal | None]]:
    """Return the repository of *store*, which it only reads, with the key of releases in *keys_dir*.

    The second tells what was signed there: None where everything was as wanted already.
    """
    collecting = CollectingStore(store)
    root, seen = read_root(keys_dir / ROOT_FILE), keys_dir / "seen"
    signers = load_signers(keys_dir, (RELEASES,))
    repository = Repository(collecting, signers, root=root, state_dir=seen)
    writer = _ProposingWriter(collecting, signers, root=root, state_dir=seen, now=_now)
    repository.writer = writer
    return repository, writer.proposal


class CollectingStore:
    """A store that is read, and whose additions are kept here."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self.location = store.location
        self.added: dict[str, bytes] = {}

    def read(self, path: str, *, limit: int) -> bytes:
        """Return an object; see ReadStore."""
        return self.added[path] if path in self.added else self._store.read(path, limit=limit)

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield a byte range; see ReadStore."""
        return self._store.stream(path, offset=offset, length=length)

    def write_if_absent(
        self,
        path: str,
        source: Path | bytes,
        *,
        expect: Digest | None = None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Keep an object; see WriteStore. What the store has already is known when it is forwarded."""
        data = source.read_bytes() if isinstance(source, Path) else source
        return self.added.setdefault(path, data) == data

    def size(self, path: str) -> int | None:
        """Return the length of an object that was added."""
        return len(self.added[path]) if path in self.added else None

    def read_versioned(self, path: str, *, limit: int) -> tuple[bytes, str] | None:
        """Return an object and its digest, or None; see WriteStore."""
        try:
            data = self.read(path, limit=limit)
        except NotFound:
            return None
        return data, sha256_bytes(data)

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        """Refuse: nothing is replaced from here."""
        raise Refused(f"{path} in {self.location} is replaced by whoever forwards the proposal")

    def list(self, prefix: str) -> Iterator[str]:
        """Yield what was added."""
        return iter(sorted(path for path in self.added if path.startswith(prefix)))

    def delete(self, path: str) -> None:
        """Refuse: nothing is removed from here."""
        raise Refused(f"{path} in {self.location} cannot be removed from here")

    def sweep(self) -> int:
        """Leave everything."""
        return 0


class _ProposingWriter(MetadataWriter):
    """Signs changes of releases on top of the present state, and writes nothing into the store."""

    def __init__(
        self,
        store: CollectingStore,
        signers: dict[str, list[Signer]],
        *,
        root: bytes,
        state_dir: Path,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(store, signers, root=root, state_dir=state_dir, now=now)
        self._collecting = store
        self._signed: bytes | None = None

    def swap(self, changes: Callable[[Trust], Changes | None]) -> bool:
        """Sign the *changes* to the present state. Raises Refused for those of another role."""
        trust = self.state().trust
        wanted = changes(trust)
        if wanted is None:
            return False
        if set(wanted) != {RELEASES}:
            raise Refused("only what releases and channels mean can be proposed")
        body = wanted[RELEASES].body
        body.version += 1
        body.expires = expiry(RELEASES, _now())
        metadata, payload = Metadata(body), signed_bytes(body)
        targets = expect(trust.signed("targets"), Targets)
        # Where several must sign, the others do so later: whoever forwards it counts.
        if not add_signatures(metadata, RELEASES, self.signers(RELEASES), targets, payload=payload):
            place = self._collecting.location
            raise Refused(f"the {RELEASES} key here is none of {place}'s; 'venvoy keys status' lists those")
        self._signed = file_bytes(metadata, payload)
        return True

    def proposal(self) -> Proposal | None:
        """Return what was signed, or None."""
        if self._signed is None:
            return None
        return Proposal(metadata=self._signed, documents=dict(sorted(self._collecting.added.items())))


def _now() -> datetime:
    return datetime.now(timezone.utc)


if TYPE_CHECKING:
    from distributor.trust.tuf_api import Signer

    _: type[Store] = CollectingStore
