"""Releases out of a store, believed only through its signed metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

from manifests.artifact import Artifact
from manifests.pins import Pin, ReleasePins

if TYPE_CHECKING:
    from distributor.layers.cache import Piece
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust
    from manifests.channels import Move
    from manifests.documents import Sha256
    from manifests.errors import VenvoyError
    from manifests.patches import PatchSet

_T = TypeVar("_T")

Take = Callable[[int, IO[bytes]], None]
"""Called with a piece's position among those asked for, and its verified bytes, to be closed."""


class ReleaseSource(Protocol):
    """Verified releases and the bytes of their artifacts."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know of how the answers came about."""

    def channel(self, name: str) -> Move:
        """Return where the channel *name* stands."""

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""

    def patch_sets(self, artifact: Artifact, bases: Sequence[Sha256]) -> list[PatchSet]:
        """Return the signed patches that lead to *artifact* from artifacts of the identities *bases*."""

    @property
    def is_near(self) -> bool:
        """Whether bytes come from this host itself, so that nothing is gained by bringing them ahead."""

    def fetch(self, piece: Piece, private: Path) -> IO[bytes]:
        """Return the verified bytes of *piece*; *private* holds what does not fit into memory."""

    def fetch_run(self, pieces: Sequence[Piece], private: Path, take: Take) -> None:
        """Hand the verified bytes of each of *pieces*, which follow each other in one object, to *take*."""


class StoreReleases:
    """What an install needs of a store, or of several mirrors of one. Metadata is refreshed once.

    Where no mirror answers, or metadata has expired, what was verified on this host before still
    counts: its signatures, versions and digests are checked again, its freshness is not. Anything else
    that is wrong with the store is an error. *allow_expired* takes expired metadata of the store too.
    """

    def __init__(self, store: ReadStore, state: Path, root: bytes, *, allow_expired: bool = False) -> None:
        from distributor.stores.mirrors import TrustedMirrors
        from distributor.trust.trust import Trust

        def trust_in(source: ReadStore) -> Trust:
            return Trust(source, state, root, check_expiry=not allow_expired)

        self._store = store
        self._mirrors = TrustedMirrors(store, trust_in)
        self._seen: Callable[[], Trust] = lambda: Trust.remembered(store.location, state, root)
        self._failure: VenvoyError | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Why something older was used, and which mirrors were passed over."""
        from distributor.stores.mirrors import MirroredStore

        passed = self._store.passed_over if isinstance(self._store, MirroredStore) else []
        notes = [f"mirror {location} was passed over: {why}" for location, why in passed]
        if self._failure is not None:
            notes.append(f"{self._failure}\nwent on with what was verified on this host before")
        return tuple(notes)

    def channel(self, name: str) -> Move:
        """Return where the channel *name* stands."""
        from distributor.trust.channels import channel

        return self._ask(lambda trust: channel(trust, name))

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""
        return self._ask(lambda trust: trust.pins(release))

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""
        return self._ask(lambda trust: trust.manifest(pin))

    def patch_sets(self, artifact: Artifact, bases: Sequence[Sha256]) -> list[PatchSet]:
        """Return the signed patches that lead to *artifact* from artifacts of the identities *bases*."""
        return self._ask(lambda trust: trust.patch_sets(artifact, bases))

    def fetch(self, piece: Piece, private: Path) -> IO[bytes]:
        """Return the verified bytes of *piece*, from the first mirror that has them right."""
        from distributor.layers.cache import verified_bytes
        from distributor.stores.mirrors import first_good

        def attempt(source: ReadStore) -> IO[bytes]:
            chunks = source.stream(piece.path, offset=piece.offset, length=piece.length)
            return verified_bytes(piece, chunks, private)

        return first_good(self._store, attempt)

    @property
    def is_near(self) -> bool:
        """Whether bytes come from a directory or a bundle."""
        return self._store.location.startswith(("file:", "bundle:"))

    def fetch_run(self, pieces: Sequence[Piece], private: Path, take: Take) -> None:
        """Fetch *pieces* in one request, each verified before *take* gets it with its position.

        Where a mirror fails in between, the next one goes on with what is left.
        """
        from distributor.layers.cache import cut, verified_bytes
        from distributor.stores.mirrors import first_good

        taken = 0

        def attempt(source: ReadStore) -> None:
            nonlocal taken
            rest = pieces[taken:]
            length = sum(piece.length for piece in rest)
            parts = cut(source.stream(rest[0].path, offset=rest[0].offset, length=length))
            for piece in rest:
                take(taken, verified_bytes(piece, parts(piece.length), private))
                taken += 1

        first_good(self._store, attempt)

    def _ask(self, question: Callable[[Trust], _T]) -> _T:
        from manifests.errors import MetadataExpired, NotFound, StoreUnavailable, VerificationFailed

        failure = self._failure
        if failure is None:
            try:
                return self._mirrors.ask(question)
            except (MetadataExpired, NotFound, StoreUnavailable) as error:
                failure = error
        try:
            remembered = self._seen()
            remembered.refresh()
            answer = question(remembered)
        except (NotFound, StoreUnavailable, VerificationFailed):
            raise failure from None
        self._failure = failure
        return answer
