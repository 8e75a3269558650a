"""A store behind any web server or CDN: read-only, over requests.

What is read is not trusted here: signed metadata and digests decide, whoever served the bytes. This
store bounds size and time, goes on where a connection broke, and keeps credentials to itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from distributor.stores.http.failures import Attempts, Budget, Failure
from distributor.stores.http.options import HttpOptions
from distributor.stores.http.reading import Reading, Span
from distributor.stores.http.transport import Transport
from distributor.stores.http.urls import store_url
from distributor.stores.interface import CHUNK_SIZE
from manifests.errors import NotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import ReadStore

_SLOWEST = 1024


class HttpStore:
    """The store at *location*, an http or https URL of the folder that holds ``metadata/``.

    *options* come from the environment unless they are given. Nothing is requested yet. Raises
    InvalidInput for a URL or settings that cannot be, NotFound or Refused for files they name.
    """

    def __init__(self, location: str, options: HttpOptions | None = None) -> None:
        self._url = store_url(location)
        self._options = HttpOptions.from_environment() if options is None else options
        self._transport = Transport(self._url, self._options)

    def __repr__(self) -> str:
        return f"HttpStore({self.location!r})"

    @property
    def location(self) -> str:
        """The URL in normal form, without a final slash."""
        return self._url.location

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        url = self._url.of(path)
        held = bytearray()
        with self._named(path):
            budget = Budget(self._options.total_seconds)
            reading = Reading(self._transport, url, Span(limit=limit), self._options, budget)
            for offset, data in reading.pieces():
                del held[offset:]  # where an object was replaced meanwhile, it begins again
                held += data
        return bytes(held)

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore."""
        url = self._url.of(path)
        if length == 0:
            if self.size(path) is None:
                raise NotFound(f"{path} is not in the store {self.location}")
            return
        with self._named(path):
            # A server without ranges sends what comes before, too.
            slowest = self._options.minimum_rate or _SLOWEST
            budget = Budget(self._options.total_seconds + (offset + length) / slowest)
            span = Span(start=offset, end=offset + length)
            reading = Reading(self._transport, url, span, self._options, budget)
            for _, data in reading.pieces():
                for start in range(0, len(data), CHUNK_SIZE):
                    yield data[start : start + CHUNK_SIZE]

    def size(self, path: str) -> int | None:
        """Return the object's length, or None where there is none, by a HEAD request.

        Raises StoreUnavailable, also where the server does not tell the length.
        """
        url = self._url.of(path)
        try:
            with self._named(path):
                return self._head(url)
        except NotFound:
            return None

    def _head(self, url: str) -> int:
        budget = Budget(self._options.total_seconds)
        attempts = Attempts(self._options, budget)
        while True:
            try:
                with self._transport.open("HEAD", url, {}, budget) as answer:
                    length = answer.length()
                    if length is None or answer.status != 200:
                        raise Failure("the server does not tell its length")
                    return length
            except Failure as failure:
                attempts.failed(failure)

    @contextlib.contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Turn a failure into one of our errors, which names the object and the store."""
        try:
            yield
        except Failure as failure:
            if failure.kind is NotFound:
                raise NotFound(f"{path} is not in the store {self.location} ({failure})") from None
            advice = "; try again, or use a mirror" if failure.kind is StoreUnavailable else ""
            raise failure.kind(f"{path} in {self.location}: {failure}{advice}") from None


if TYPE_CHECKING:
    _: type[ReadStore] = HttpStore
