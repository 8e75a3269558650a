"""Several copies of one store, in order: what one does not give, or gives wrongly, the next one may.

Bytes may come from any mirror, since signed metadata decides what they must be; so every answer is
judged by whoever verifies it, by means of ``first_good``. A mirror that is dead, slow or lying is not
asked again; one that only lacks something, or is stale, is asked last.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from manifests.errors import MetadataExpired, NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributor.stores.interface import ReadStore
    from manifests.errors import VenvoyError

_T = TypeVar("_T")

_GOOD, _BEHIND, _DROPPED = 0, 1, 2
_SLOT_BYTES = 1024
_FAULTS = (VerificationFailed, StoreUnavailable, NotFound)
# What says most of a mirror's failure comes first.
_TELLING = (VerificationFailed, MetadataExpired, StoreUnavailable, NotFound)


class _Refreshable(Protocol):
    def refresh(self) -> None:
        """Fetch and verify the present state."""


_Trust = TypeVar("_Trust", bound=_Refreshable)


class Mirror:
    """One mirror of a site: reads its own bytes, under the location that all mirrors share.

    What hosts remember of a store goes by its location. Shared, it makes a stale mirror show itself as
    a rollback. Errors name the mirror, since its own store words them; so does ``name``.
    """

    def __init__(self, store: ReadStore, location: str) -> None:
        self._store = store
        self.location = location
        self.name = store.location

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        return self._store.read(path, limit=limit)

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore."""
        return self._store.stream(path, offset=offset, length=length)


class MirroredStore:
    """The mirrors *stores*, the preferred one first; its ``location`` is the first one's.

    *report* is called once for each mirror that is passed over, with its location and why, in the
    process that noticed. What is known of mirrors is shared with processes that are forked later.
    """

    def __init__(self, stores: Sequence[ReadStore], report: Callable[[str, str], None]) -> None:
        if not stores:
            raise ValueError("at least one mirror is needed")
        self.location = stores[0].location
        self._mirrors = [Mirror(store, self.location) for store in stores]
        self._report = report
        # Of each mirror: how far it is trusted, and why not further. A race of two writers costs no
        # more than a second report.
        self._slots = mmap.mmap(-1, _SLOT_BYTES * len(stores))

    def sources(self) -> Iterator[Mirror]:
        """Yield the mirrors that are still worth asking, best first."""
        asked: list[Mirror] = []
        for level in (_GOOD, _BEHIND):
            for mirror in self._mirrors:
                # Judged when it is its turn: what came before may have changed it.
                if mirror not in asked and self._level(mirror) <= level:
                    asked.append(mirror)
                    yield mirror

    def blame(self, mirror: Mirror, error: VenvoyError | str) -> None:
        """Note that *mirror* failed with *error*, and report it unless that was done before."""
        mild = isinstance(error, (NotFound, MetadataExpired))
        before, level = self._level(mirror), _BEHIND if mild else _DROPPED
        if level <= before:
            return
        why = str(error)
        slot = self._slot(mirror)
        text = why.encode("utf-8", "replace")[: _SLOT_BYTES - 3]
        self._slots[slot + 1 : slot + 3 + len(text)] = len(text).to_bytes(2, "little") + text
        self._slots[slot] = level
        if before == _GOOD:
            self._report(mirror.name, why)

    @property
    def passed_over(self) -> list[tuple[str, str]]:
        """The mirrors that were passed over, here or in a forked process: location, and why."""
        return [(mirror.name, self._why(mirror)) for mirror in self._mirrors if self._level(mirror) != _GOOD]

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object from the first mirror that gives it; see ReadStore."""
        return first_good(self, lambda source: source.read(path, limit=limit))

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore. Where a mirror breaks off, the next one goes on.

        Who verifies the bytes does better with ``first_good``: it can tell which mirror lied.
        """
        end = offset + length
        failures: list[tuple[Mirror, VenvoyError]] = []
        for source in self.sources():
            try:
                for chunk in source.stream(path, offset=offset, length=end - offset):
                    offset += len(chunk)
                    yield chunk
            except _FAULTS as error:
                failures.append((source, error))
            else:
                self._blame_all(failures)
                return
        raise self._all_failed(failures)

    def first_good(self, attempt: Callable[[ReadStore], _T]) -> _T:
        """Return what *attempt* makes of the first mirror with which it succeeds; see ``first_good``."""
        failures: list[tuple[Mirror, VenvoyError]] = []
        for source in self.sources():
            try:
                result = attempt(source)
            except _FAULTS as error:
                failures.append((source, error))
            else:
                self._blame_all(failures)
                return result
        raise self._all_failed(failures)

    def _blame_all(self, failures: list[tuple[Mirror, VenvoyError]]) -> None:
        for mirror, error in failures:
            self.blame(mirror, error)

    def _all_failed(self, failures: list[tuple[Mirror, VenvoyError]]) -> VenvoyError:
        """Return the error for what no mirror could do, and note the mirrors that it shows as broken."""
        for mirror, error in failures:
            if not isinstance(error, NotFound):  # what none has is missing, and no mirror's fault
                self.blame(mirror, error)
        if not failures:
            lines = [f"{name}: {why}" for name, why in self.passed_over]
            return StoreUnavailable("\n  ".join(["no mirror is left that could be asked:", *lines]))
        kind = min((_rank(error), type(error)) for _, error in failures)[1]
        if len({str(error) for _, error in failures}) == 1:  # not the mirrors', such as this host's clock
            return kind(str(failures[0][1]))
        lines = [f"{mirror.name}: {error}" for mirror, error in failures]
        return kind("\n  ".join([f"none of {len(self._mirrors)} mirrors helped:", *lines]))

    def _slot(self, mirror: Mirror) -> int:
        return self._mirrors.index(mirror) * _SLOT_BYTES

    def _level(self, mirror: Mirror) -> int:
        return self._slots[self._slot(mirror)]

    def _why(self, mirror: Mirror) -> str:
        slot = self._slot(mirror)
        length = int.from_bytes(self._slots[slot + 1 : slot + 3], "little")
        return self._slots[slot + 3 : slot + 3 + length].decode("utf-8", "replace")


def first_good(store: ReadStore, attempt: Callable[[ReadStore], _T]) -> _T:
    """Return what *attempt* makes of *store*, or of the first of its mirrors with which it succeeds.

    *attempt* reads from the store that it is given, and verifies. Its VerificationFailed,
    StoreUnavailable and NotFound speak against that mirror and lead to the next one; where none is
    left they are raised together, under the most telling kind. Other errors pass at once.
    """
    return store.first_good(attempt) if isinstance(store, MirroredStore) else attempt(store)


def refresh_any(store: ReadStore, make_trust: Callable[[ReadStore], _Trust]) -> _Trust:
    """Return the refreshed trust of *store*, or of the first of its mirrors that is neither stale nor broken.

    *make_trust* makes it over the store that it is given. Raises as ``first_good`` does.
    """

    def refreshed(source: ReadStore) -> _Trust:
        trust = make_trust(source)
        trust.refresh()
        return trust

    return first_good(store, refreshed)


class TrustedMirrors(Generic[_Trust]):
    """One refreshed trust, and that of the next mirror where its mirror does not answer rightly."""

    def __init__(self, store: ReadStore, make_trust: Callable[[ReadStore], _Trust]) -> None:
        self._store = store
        self._make_trust = make_trust
        self._trust: _Trust | None = None

    def ask(self, question: Callable[[_Trust], _T]) -> _T:
        """Return what *question* gets from the trust; the first question refreshes it.

        Where it raises VerificationFailed, StoreUnavailable or NotFound, the mirrors are asked in
        order. Raises as ``first_good`` does.
        """
        if self._trust is not None:
            try:
                return question(self._trust)
            except _FAULTS:
                if not isinstance(self._store, MirroredStore):
                    raise
        found: list[_Trust] = []

        def attempt(source: ReadStore) -> _T:
            trust = self._make_trust(source)
            trust.refresh()
            found[:] = [trust]
            return question(trust)

        try:
            return first_good(self._store, attempt)
        finally:
            self._trust = found[0] if found else self._trust


def _rank(error: VenvoyError) -> int:
    """Return how telling *error* is, 0 for the most."""
    exact = [position for position, kind in enumerate(_TELLING) if type(error) is kind]
    return exact[0] if exact else 0
