"""What all releases of a store hold, in one pass: by their contents where they have them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from distributor.trust.gzipped import decompress
from manifests.atomic_file import write_atomically
from manifests.contents import ArtifactContents, ReleaseContents, contents_path
from manifests.documents import MAX_DOCUMENT_BYTES, sha256_bytes
from manifests.errors import InvalidInput, NotFound, VerificationFailed

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust
    from manifests.documents import Sha256
    from manifests.pins import ReleasePins


class ContentsReader:
    """Reads contents of releases out of *store* as *trust*, which is refreshed, allows.

    What was read once is kept beside the trusted metadata. A release that was pinned without contents, or
    whose contents are missing, is read manifest by manifest; each manifest once.
    """

    def __init__(self, store: ReadStore, trust: Trust) -> None:
        self._store = store
        self._trust = trust
        self._manifests: dict[Sha256, ArtifactContents] = {}

    def contents(self, pins: ReleasePins) -> ReleaseContents:
        """Return what *pins* pin. Raises VerificationFailed where it is not what was signed."""
        if pins.contents is not None:
            path = contents_path(pins.release, pins.contents)
            try:
                return self._read(path, pins, pins.contents)
            except NotFound:
                pass
        found = {}
        for pin in pins.pins:
            if pin.sha256 not in self._manifests:
                self._manifests[pin.sha256] = ArtifactContents.of(self._trust.manifest(pin))
            found[pin.service, pin.target] = self._manifests[pin.sha256]
        return ReleaseContents(release=pins.release, artifacts=found)

    def _read(self, path: str, pins: ReleasePins, sha256: Sha256) -> ReleaseContents:
        where = f"{path} in {self._store.location}"
        plain = self._plain(path, pins, sha256, where)
        try:
            found = ReleaseContents.from_json(plain, what=path)
        except InvalidInput as error:
            raise VerificationFailed(f"{where}: {error}") from None
        if set(found.artifacts) != {(pin.service, pin.target) for pin in pins.pins}:
            raise VerificationFailed(f"{where} lists other artifacts than the pins of {pins.release}")
        return found

    def _plain(self, path: str, pins: ReleasePins, sha256: Sha256, where: str) -> bytes:
        """Return the verified document: as it was kept here, else out of the store, and then keep it."""
        kept = self._trust.directory / "contents" / sha256
        with contextlib.suppress(OSError):
            plain = kept.read_bytes()
            if sha256_bytes(plain) == sha256:
                return plain
        plain = decompress(self._store.read(path, limit=MAX_DOCUMENT_BYTES), what=where)
        if sha256_bytes(plain) != sha256:
            raise VerificationFailed(f"{where} is not what the pins of release {pins.release} name")
        with contextlib.suppress(OSError):  # what cannot be kept is read again
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(kept, plain, mode=0o600, sync=False)
        return plain
