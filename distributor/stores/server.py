"""``serve-store``: a directory store over HTTP, read-only, for small sites and for tests.

GET and HEAD with single ranges, entity tags and keep-alive (RFC 9110 and 9112). Bytes go from the page
cache to the socket (sendfile), so that memory does not grow with objects or clients.
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from distributor.stores.directory import DirectoryStore
from distributor.stores.media_types import media_type
from manifests import __version__
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

MAX_THREADS = 128
_SOCKET_SECONDS = 60.0
_IDLE_SECONDS = 30.0
_TICK_SECONDS = 0.2
_IMMUTABLE = re.compile(
    r"(artifacts|contents|patches|sbom|provenance)/.*|metadata/[0-9]+\.[^/]+\.json", re.DOTALL
)
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_TAGS = re.compile(r'(?:W/)?("[^"]*")')
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]*)):([0-9]{1,5})")


class StoreServer(ThreadingHTTPServer):
    """Serves the store in *root* at *address* (host, port; port 0 takes a free one).

    *log* writes one line a request to stderr. Raises Refused where the address is taken or not for this
    user, InvalidInput where it is none of this host's, NotFound where there is no *root*.
    """

    daemon_threads = False  # closing the server waits for requests in flight
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, root: Path, address: tuple[str, int], *, log: bool = True) -> None:
        if not root.is_dir():
            raise NotFound(f"{root} is not a directory; name the one that holds the store's metadata/")
        self.store = DirectoryStore(root)
        self.log = log
        self.stopping = False
        self.crowded = False
        self._places = threading.BoundedSemaphore(MAX_THREADS)
        host, port = address
        try:
            self.address_family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), _Handler)
        except socket.gaierror as error:
            raise InvalidInput(f"--listen: {host!r} cannot be resolved: {error.strerror}") from None
        except PermissionError:
            raise Refused(f"--listen: only root may listen on port {port}; take one above 1023") from None
        except OSError as error:
            raise Refused(
                f"--listen: cannot listen on {_shown(host)}:{port}: {error.strerror}; "
                "choose another address or port"
            ) from None

    @property
    def url(self) -> str:
        """The server's root, with a final slash."""
        host, port = self.server_address[:2]
        return f"http://{_shown(str(host))}:{port}/"

    def server_bind(self) -> None:
        """Bind the socket, without looking the host's name up as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a client in a thread of its own, when one of the places is free."""
        while not self._places.acquire(timeout=_TICK_SECONDS):
            self.crowded = True  # idle connections make room
            if self.stopping:
                self.shutdown_request(request)
                return
        self.crowded = False
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a client until it is done."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line what went wrong with a client; those that hang up are no error."""
        error = sys.exc_info()[1]
        if self.log and not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"{client_address[0]} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Take no more requests, let those in flight end, and return when they have."""
        self.stopping = True
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"venvoy/{__version__}"
    sys_version = ""
    timeout = _SOCKET_SECONDS
    disable_nagle_algorithm = True
    server: StoreServer

    def handle_one_request(self) -> None:
        """Wait for a request and answer it; give the place back where others want it."""
        if not self._wait():
            self.close_connection = True
            return
        self._status, self._sent, self._started = 0, 0, time.monotonic()
        try:
            super().handle_one_request()
        finally:
            if self.server.log and self._status:
                self._log()

    def do_GET(self) -> None:
        """Answer with an object or a range of it."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer with an object's headers."""
        self._answer()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with a status and a short plain text."""
        body = f"{code} {message or self.responses.get(code, ('',))[0]}\n".encode("ascii", "replace")
        headers = {"Content-Type": "text/plain; charset=us-ascii", "Cache-Control": "no-cache"}
        if code in (405, 501):
            code, headers["Allow"] = 405, "GET, HEAD"
        if code != 404:
            self.close_connection = True  # what follows on the connection may not be a request
            headers["Connection"] = "close"
        self._head(code, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing here: one line a request comes at its end."""

    def _wait(self) -> bool:
        """Return whether a request begins before the client is idle for too long."""
        self.connection.settimeout(0)
        pipelined = self.rfile.peek(1)  # type: ignore[attr-defined]  # it is a BufferedReader
        self.connection.settimeout(self.timeout)
        if pipelined:
            return True
        deadline = time.monotonic() + _IDLE_SECONDS
        while time.monotonic() < deadline and not self.server.stopping:
            if select.select([self.connection], [], [], _TICK_SECONDS)[0]:
                return True
            if self.server.crowded:
                return False
        return False

    def _answer(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is not read
        try:
            path = _object_path(self.path)
            with self.server.store.open_object(path) as descriptor:
                self._send_object(path, descriptor)
        except (NotFound, InvalidInput, Refused):
            self.send_error(404)
        except StoreUnavailable:
            self.send_error(500)

    def _send_object(self, path: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        size = status.st_size
        tag = f'"{size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"'
        headers = {
            "ETag": tag,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
            "Cache-Control": cache_control(path),
        }
        if _matches(self.headers.get("If-None-Match"), tag):
            self._head(304, None, headers)
            return
        headers["Content-Type"] = media_type(path)
        headers["X-Content-Type-Options"] = "nosniff"
        # A date is never strong enough for If-Range: files change twice within its second.
        unchanged = self.headers.get("If-Range", tag).strip() == tag
        wanted = self.headers.get("Range") if self.command == "GET" and unchanged else None
        part = None if wanted is None else byte_range(wanted, size)
        if part is None:
            self._head(200, size, headers)
            self._send(descriptor, 0, size)
        elif part[0] >= part[1]:
            self._head(416, 0, {**headers, "Content-Range": f"bytes */{size}"})
        else:
            start, stop = part
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self._head(206, stop - start, headers)
            self._send(descriptor, start, stop - start)

    def _head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self._status = status
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Server", self.server_version)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.server.stopping and "Connection" not in headers:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _send(self, descriptor: int, start: int, count: int) -> None:
        if self.command == "HEAD" or count == 0:
            return
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            self._sent = self.connection.sendfile(stream, start, count)
        if self._sent != count:  # the file became shorter: the client must not take this for the whole
            self.close_connection = True

    def _log(self) -> None:
        shown = getattr(self, "path", "").partition("?")[0].encode("ascii", "replace").decode()
        line = f"{self.client_address[0]} {self.command} {shown!r} {self._status} {self._sent}"
        print(f"{line} {time.monotonic() - self._started:.3f}s", file=sys.stderr, flush=True)


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``. Raises InvalidInput."""
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise InvalidInput(f"--listen: {text!r} is no address; write HOST:PORT, as in 127.0.0.1:8080")
    return match[1] or match[2] or "", int(match[3])


def cache_control(path: str) -> str:
    """Return how long caches may keep the object *path*: for ever, or not without asking again."""
    return "public, max-age=31536000, immutable" if _IMMUTABLE.fullmatch(path) else "no-cache"


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return start and end of the one range that *header* asks for of *size* bytes (RFC 9110, 14.1.2).

    None where the header is to be ignored: another unit, several ranges, malformed. Start and end are
    equal where there is no such range.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    stop = int(match[2]) + 1 if match[2] else size
    if stop <= start and match[2]:
        return None
    return (start, min(stop, size)) if start < size else (size, size)


def _matches(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or tag in _TAGS.findall(header)


def _object_path(target: str) -> str:
    """Return the object's path in a request target. Raises InvalidInput where it names none."""
    path = urlsplit(target).path if target.startswith(("http://", "https://")) else target.partition("?")[0]
    try:
        return unquote_to_bytes(path.removeprefix("/")).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise InvalidInput("not a path in UTF-8") from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
