"""Connections that watch their time: urllib3's, with two things added where bytes come in.

urllib3 bounds each silence. A server that sends a byte now and then would hold its reader for ever, in
the headers too: a ``Watch`` bounds the pace and the whole. And the address that a name led to is
looked at before anything is sent to it.
"""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import io
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from distributor.stores.http.failures import Failure
from distributor.stores.http.urls import check_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.http.failures import Budget
    from distributor.stores.http.options import HttpOptions


class Watch:
    """What one request must keep to: the *budget* of its call, a least pace, and where it may go.

    *named* is the host that the operator named: only that one may have any address.
    """

    def __init__(self, budget: Budget, options: HttpOptions, named: str) -> None:
        self._budget = budget
        self._window = options.timeout_seconds
        self._least = options.minimum_rate * options.timeout_seconds
        self._waited = 0.0
        self._bytes = 0
        self.named = named

    def patience(self) -> float:
        """Return how many seconds the next read may be silent. Raises Failure where time is up."""
        return min(self._window, self._budget.left())

    def took(self, seconds: float, count: int) -> None:
        """Note that *count* bytes came in *seconds*. Raises Failure where that is too slow."""
        self._waited += seconds
        self._bytes += count
        if self._waited >= self._window:
            if self._bytes < self._least:
                raise Failure(
                    f"too slow: {self._bytes} bytes in {self._waited:.0f} s; "
                    "VENVOY_HTTP_MIN_RATE sets the least bytes per second"
                )
            self._waited, self._bytes = 0.0, 0


_WATCH: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("watch", default=None)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let *watch* watch the request that the block makes, and its answer to the end."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


@contextlib.contextmanager
def pipe_errors() -> Iterator[None]:
    """Let a write to a connection that the server closed be an error of the block.

    Commands let SIGPIPE end them, as filters do; here it must not. The signal goes to the thread that
    writes, so that blocking it there and taking it away again disturbs nobody.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            signal.sigtimedwait({signal.SIGPIPE}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WatchedSocket(io.RawIOBase):
    """The reading end of a socket, under a watch."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase, watch: Watch) -> None:
        self._connection = connection
        self._raw = raw
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(self._watch.patience())
        started = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._watch.took(time.monotonic() - started, count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose headers and body are read under the watch of its request."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        watch = _WATCH.get()
        if watch is not None:
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_WatchedSocket(sock, raw, watch))


class _Watched:
    """What both kinds of connection have in common."""

    proxy: Any

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]  # urllib3's
        watch = _WATCH.get()
        # Of what lies behind a proxy the address is not known here; the proxy itself was named.
        if watch is not None and self.proxy is None and self.host != watch.named:  # type: ignore[attr-defined]
            try:
                # Names, and numbers like 0xA9FEA9FE, show only here where they lead.
                check_host(connection.getpeername()[0])
            except BaseException:
                connection.close()
                raise
        return connection


class _Connection(_Watched, HTTPConnection):
    response_class = _Answer


class _SecureConnection(_Watched, HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class WatchedAdapter(HTTPAdapter):
    """requests' adapter over connections that can be watched."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make, or find, the pools of connections through one proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
