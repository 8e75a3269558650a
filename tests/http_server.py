"""Real web servers for tests: pages and faults by path or by hand over the socket, requests recorded."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from types import TracebackType


@dataclass(kw_only=True)
class Reply:
    """An answer. *cut* sends only that many bytes and resets the connection."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client asked for."""

    path: str
    headers: dict[str, str]
    method: str = "GET"


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # beyond it a client waits a second and tries again

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients that hang up, or refuse a certificate, are what is tested."""


class WebServer:
    """Serves ``replies[path]``, the path without its query.

    A reply is given for ever, a list of them is used up (its last one stays), a function is asked.
    With *tls* it speaks HTTPS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: dict[str, Reply | list[Reply] | Callable[[Request], Reply]] = {}
        self.requests: list[Request] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                owner.answer(self)

            def do_HEAD(self) -> None:
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._scheme = "http" if tls is None else "https"
        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The server's root, without a final slash."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        """Return the paths asked for so far."""
        return [request.path for request in self.requests]

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        request = Request(path=handler.path, headers=dict(handler.headers.items()), method=handler.command)
        self.requests.append(request)
        reply = self.replies.get(handler.path.partition("?")[0], Reply(status=404))
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        elif callable(reply):
            reply = reply(request)
        handler.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if reply.cut is None:
            handler.wfile.write(reply.body)
            return
        handler.wfile.write(reply.body[: reply.cut])
        handler.wfile.flush()
        handler.close_connection = True
        # A reset instead of a clean end: the client must notice.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def ranged(
    body: bytes, *, cut: int | None = None, headers: dict[str, str] | None = None
) -> Callable[[Request], Reply]:
    """Return a page that answers a range of *body* as asked; each answer is *cut* after so many bytes."""

    def page(request: Request) -> Reply:
        match = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", request.headers.get("Range", ""))
        if match is None:
            return reply(body, 200, {})
        start, end = int(match[1]), min(int(match[2] or len(body) - 1) + 1, len(body))
        if start >= len(body):
            return reply(b"", 416, {"Content-Range": f"bytes */{len(body)}"})
        return reply(body[start:end], 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})

    def reply(part: bytes, status: int, more: dict[str, str]) -> Reply:
        short = cut is None or cut >= len(part)
        return Reply(
            body=part, status=status, headers={**(headers or {}), **more}, cut=None if short else cut
        )

    return page


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """Give the URL of a server that hands each connection to *answer*, with the head of its request.

    When *answer* returns, the connection ends; ``reset`` ends it harder.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            answer(connection, head)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def reset(connection: socket.socket) -> None:
    """Let the connection end with a reset (RST) instead of a proper end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
