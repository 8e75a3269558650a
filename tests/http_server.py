"""A real web server for tests: pages and faults by path, requests recorded."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
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


class WebServer:
    """Serves ``replies[path]``, the path without its query.

    A reply is given for ever, a list of them is used up (its last one stays), a function is asked.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply | list[Reply] | Callable[[Request], Reply]] = {}
        self.requests: list[Request] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The server's root, without a final slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

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
        request = Request(path=handler.path, headers=dict(handler.headers.items()))
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
        if reply.cut is None:
            handler.wfile.write(reply.body)
            return
        handler.wfile.write(reply.body[: reply.cut])
        handler.wfile.flush()
        handler.close_connection = True
        # A reset instead of a clean end: the client must notice.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
