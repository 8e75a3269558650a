"""A limit for the bytes per second that a command fetches, all of its processes together."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import ReadStore

_MOMENT = struct.Struct("d")
_BURST_SECONDS = 0.25


class RateLimit:
    """A token bucket of *bytes_per_second*, shared with every process that is forked later.

    The state is one moment of the monotonic clock, which all processes of a host share: when the
    bytes so far are paid for. It lies in anonymous memory that forks inherit.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._memory = os.memfd_create("venvoy-rate")
        os.pwrite(self._memory, _MOMENT.pack(0.0), 0)
        # A record lock holds between processes, but not between threads of one.
        self._threads = threading.Lock()
        self._owner = os.getpid()

    def __del__(self) -> None:
        if hasattr(self, "_memory"):
            os.close(self._memory)

    def spend(self, count: int) -> None:
        """Wait until *count* more bytes fit the rate."""
        if self._owner != os.getpid():
            # A fork may have copied the lock while another thread held it.
            self._threads, self._owner = threading.Lock(), os.getpid()
        with self._threads:
            fcntl.lockf(self._memory, fcntl.LOCK_EX)
            try:
                (paid,) = _MOMENT.unpack(os.pread(self._memory, _MOMENT.size, 0))
                now = time.monotonic()
                paid = max(paid, now - _BURST_SECONDS) + count / self._rate
                os.pwrite(self._memory, _MOMENT.pack(paid), 0)
            finally:
                fcntl.lockf(self._memory, fcntl.LOCK_UN)
        if paid > now:
            time.sleep(paid - now)


class RateLimited:
    """*store*, read no faster than *limit* allows."""

    def __init__(self, store: ReadStore, limit: RateLimit) -> None:
        self._store = store
        self._limit = limit

    @property
    def location(self) -> str:
        """The location of the store behind it."""
        return self._store.location

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        data = self._store.read(path, limit=limit)
        self._limit.spend(len(data))
        return data

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range; see ReadStore."""
        for chunk in self._store.stream(path, offset=offset, length=length):
            self._limit.spend(len(chunk))
            yield chunk
