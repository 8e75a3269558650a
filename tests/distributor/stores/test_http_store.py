"""The HTTP store over real sockets: what it reads, which faults it survives, and what it never does."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import inspect
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests.exceptions
import urllib3.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from distributor.layers.cache import verified_bytes
from distributor.stores import server as store_server
from distributor.stores.directory import DirectoryStore
from distributor.stores.http.errors import TABLE, translate
from distributor.stores.http.failures import retry_after
from distributor.stores.http.options import HttpOptions
from distributor.stores.http.store import HttpStore
from distributor.stores.http.urls import is_forbidden_address, store_url
from distributor.stores.interface import CHUNK_SIZE
from distributor.stores.location import open_store, open_writable_store
from distributor.stores.server import StoreServer
from manifests.artifact import Layer
from manifests.errors import (
    InvalidInput,
    NotFound,
    Refused,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)
from tests.http_server import Reply, Request, WebServer, ranged, raw_server, reset

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "CANARY-9d1f"
KB64 = 64 * 1024
DATA = hashlib.shake_256(b"data").digest(5 * KB64 + 17)
FAST = HttpOptions(
    connect_seconds=2,
    timeout_seconds=0.5,
    total_seconds=20,
    retries=3,
    backoff_seconds=0.01,
    longest_wait_seconds=0.3,
)
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("VENVOY_") or name.endswith("CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setattr(store_server, "_TICK_SECONDS", 0.01)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def with_options(**changes: Any) -> HttpOptions:
    known = {name: getattr(FAST, name) for name in HttpOptions.__slots__}
    return HttpOptions(**{**known, **changes})


def store_at(url: str, **changes: Any) -> HttpStore:
    return HttpStore(url, with_options(**changes))


def stream(store: HttpStore, path: str = "a", offset: int = 0, length: int = len(DATA)) -> bytes:
    return b"".join(store.stream(path, offset=offset, length=length))


class TestReading:
    """What every store promises of reading, with and without a server that knows ranges."""

    @pytest.fixture(params=["serve-store", "no ranges", "no ranges, no length"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HttpStore]:
        if request.param == "serve-store":
            files = DirectoryStore(tmp_path / "store")
            for name, data in {"a": DATA, "empty": b"", "v/1.0+local!2~x": b"odd"}.items():
                files.write_if_absent(name, data)
            server = StoreServer(tmp_path / "store", ("127.0.0.1", 0), log=False)
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            yield store_at(server.url)
            server.stop()
            thread.join()
            return
        with WebServer() as web:
            extra = {} if request.param == "no ranges" else {"Transfer-Encoding": "chunked"}
            for path, data in {"/s/a": DATA, "/s/empty": b"", "/s/v/1.0%2Blocal%212~x": b"odd"}.items():
                body = (
                    (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + b"0\r\n\r\n" if extra else data
                )
                length = {"Content-Length": ""} if extra else {}
                web.replies[path] = Reply(body=body, headers={**extra, **length})
            yield store_at(f"{web.url}/s/")

    def test_whole_objects(self, store: HttpStore) -> None:
        assert store.read("a", limit=len(DATA)) == DATA
        assert store.read("empty", limit=0) == b""
        assert store.read("v/1.0+local!2~x", limit=3) == b"odd"

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 10), (3, 4), (KB64 - 1, 2 * KB64), (len(DATA) - 1, 1), (0, len(DATA))]
    )
    def test_a_stream_is_exactly_the_range(self, store: HttpStore, offset: int, length: int) -> None:
        chunks = list(store.stream("a", offset=offset, length=length))
        assert b"".join(chunks) == DATA[offset : offset + length]
        assert max(map(len, chunks)) <= CHUNK_SIZE

    def test_missing_objects_are_not_found(self, store: HttpStore) -> None:
        with pytest.raises(
            NotFound, match=r"b is not in the store http://127\.0\.0\.1:\d+.* \(HTTP status 404\)"
        ):
            store.read("b", limit=10)
        with pytest.raises(NotFound):
            stream(store, "b", 0, 1)
        with pytest.raises(NotFound):
            stream(store, "b", 0, 0)
        assert store.size("b") is None

    def test_a_truncated_object_does_not_pass_for_whole(self, store: HttpStore) -> None:
        with pytest.raises(StoreUnavailable, match=f"ends at byte {len(DATA)}, expected {len(DATA) + 1}"):
            stream(store, length=len(DATA) + 1)
        with pytest.raises(StoreUnavailable, match=f"ends at byte {len(DATA)}, expected"):
            stream(store, offset=len(DATA) + 9, length=1)

    def test_the_limit_holds(self, store: HttpStore) -> None:
        with pytest.raises(VerificationFailed, match="larger than the 100 bytes"):
            store.read("a", limit=100)

    @pytest.mark.parametrize("path", ["", "/a", "../a", "a//b", ".hidden", "a/.b/c", "a\nb"])
    def test_unsafe_paths_are_refused(self, store: HttpStore, path: str) -> None:
        for attempt in (
            lambda: store.read(path, limit=1),
            lambda: stream(store, path),
            lambda: store.size(path),
        ):
            with pytest.raises(InvalidInput):
                attempt()


def test_size_is_asked_for_by_head(web: WebServer) -> None:
    web.replies["/a"] = Reply(body=DATA)
    assert store_at(web.url).size("a") == len(DATA)
    assert [request.method for request in web.requests] == ["HEAD"]


def test_one_connection_serves_many_requests(web: WebServer) -> None:
    ports: set[int] = set()
    original = web.answer

    def answer(handler: Any) -> None:
        ports.add(handler.client_address[1])
        original(handler)

    web.answer = answer  # type: ignore[method-assign]
    web.replies["/a"] = ranged(DATA)
    web.replies["/busy"] = [Reply(status=503, body=b"busy"), Reply(body=b"free")]
    store = store_at(web.url)
    for number in range(10):
        assert stream(store, offset=number, length=1000) == DATA[number : number + 1000]
    assert store.read("busy", limit=10) == b"free"
    with pytest.raises(NotFound):
        store.read("b", limit=10)
    assert len(web.requests) == 13
    assert len(ports) == 1


def test_identity_is_asked_for(web: WebServer) -> None:
    web.replies["/a"] = Reply(body=b"x")
    store_at(web.url).read("a", limit=1)
    headers = web.requests[0].headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("venvoy/")
    assert "Cookie" not in headers
    assert "Authorization" not in headers


def test_cookies_are_not_kept(web: WebServer) -> None:
    web.replies["/a"] = Reply(body=b"x", headers={"Set-Cookie": "track=me"})
    store = store_at(web.url)
    store.read("a", limit=1)
    store.read("a", limit=1)
    assert "Cookie" not in web.requests[1].headers


class TestCuts:
    """Connections that break, and objects that change meanwhile."""

    def test_a_cut_at_every_64_kb_is_gone_on_from(self, web: WebServer) -> None:
        web.replies["/a"] = ranged(DATA, cut=KB64, headers={"ETag": '"1"'})
        assert stream(store_at(web.url)) == DATA
        ranges = [request.headers["Range"] for request in web.requests]
        assert ranges == [f"bytes={at}-{len(DATA) - 1}" for at in range(0, len(DATA), KB64)]
        assert [request.headers.get("If-Range") for request in web.requests] == [None] + ['"1"'] * 5

    def test_a_whole_object_is_gone_on_with(self, web: WebServer) -> None:
        web.replies["/a"] = ranged(DATA, cut=KB64, headers={"ETag": '"1"'})
        assert store_at(web.url).read("a", limit=len(DATA)) == DATA
        assert web.requests[1].headers["Range"] == f"bytes={KB64}-{len(DATA) - 1}"

    def test_without_a_strong_tag_a_whole_object_begins_again(self, web: WebServer) -> None:
        web.replies["/a"] = [Reply(body=DATA, cut=KB64, headers={"ETag": 'W/"1"'}), Reply(body=DATA)]
        assert store_at(web.url).read("a", limit=len(DATA)) == DATA
        assert "Range" not in web.requests[1].headers

    @pytest.mark.parametrize("cut", [0, 1, KB64])
    def test_cuts_without_progress_end(self, web: WebServer, cut: int) -> None:
        web.replies["/a"] = Reply(body=DATA, cut=cut)  # no ranges: it never comes further
        with pytest.raises(StoreUnavailable, match=r"a in http.*\(4 attempts\); try again") as caught:
            stream(store_at(web.url))
        assert "\n" not in str(caught.value)
        assert len(web.requests) in (4, 5)  # the first byte that comes is progress

    def test_a_reset_at_every_answer_is_tried_again(self) -> None:
        seen: list[bytes] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            seen.append(head)
            if len(seen) < 4:
                reset(connection)
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

        with raw_server(answer) as url:
            assert store_at(url).read("a", limit=10) == b"done"
            assert len(seen) == 4
            seen.clear()
            with pytest.raises(StoreUnavailable, match=r"\(3 attempts\)"):
                store_at(url, retries=2).read("a", limit=10)

    def test_a_dead_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=r"Connection refused\) \(4 attempts\); try again"):
            store_at(f"http://127.0.0.1:{port}").read("a", limit=1)

    def test_an_object_that_changes_is_no_mix(self, web: WebServer) -> None:
        other = bytes(len(DATA))
        pages = [ranged(DATA, cut=KB64, headers={"ETag": '"1"'}), ranged(other, headers={"ETag": '"2"'})]

        def page(request: Request) -> Reply:
            return pages[min(len(web.requests), 2) - 1](request)

        web.replies["/a"] = page
        with pytest.raises(StoreUnavailable, match="replaced while it was read"):
            stream(store_at(web.url))
        web.requests.clear()
        assert store_at(web.url).read("a", limit=len(DATA)) == other

    def test_no_ranges_and_one_cut(self, web: WebServer) -> None:
        web.replies["/a"] = [Reply(body=DATA, cut=2 * KB64), Reply(body=DATA)]
        assert stream(store_at(web.url), offset=KB64, length=3 * KB64) == DATA[KB64 : 4 * KB64]

    def test_a_chunked_body_that_is_cut_is_not_taken_for_whole(self) -> None:
        def answer(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

        with raw_server(answer) as url, pytest.raises(StoreUnavailable, match="4 attempts"):
            store_at(url).read("a", limit=100)


class TestStatuses:
    """What a server says instead of the object."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_trouble_that_passes(self, web: WebServer, status: int) -> None:
        web.replies["/a"] = [Reply(status=status, body=b"trouble"), Reply(status=status), Reply(body=b"ok")]
        assert store_at(web.url).read("a", limit=10) == b"ok"
        assert len(web.requests) == 3

    @pytest.mark.parametrize("status", [400, 405, 418, 501, 505])
    def test_trouble_that_stays_is_not_asked_again(self, web: WebServer, status: int) -> None:
        web.replies["/a"] = Reply(status=status)
        with pytest.raises(StoreUnavailable, match=f"a in {web.url}: HTTP status {status}"):
            store_at(web.url).read("a", limit=10)
        assert len(web.requests) == 1

    @pytest.mark.parametrize("status", [401, 403])
    def test_denied_says_which_setting_gives_credentials(self, web: WebServer, status: int) -> None:
        web.replies["/a"] = Reply(status=status)
        with pytest.raises(StoreUnavailable, match=rf"status {status}; .*VENVOY_HTTP_AUTH_FILE.*netrc"):
            store_at(web.url).read("a", limit=10)

    def test_gone_is_not_found(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(status=410)
        with pytest.raises(NotFound, match="HTTP status 410"):
            store_at(web.url).read("a", limit=10)

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_retry_after_is_kept_to(self, web: WebServer, form: str) -> None:
        until = datetime.now(timezone.utc) + timedelta(seconds=100)
        value = "1" if form == "seconds" else f"{until:%a, %d %b %Y %H:%M:%S} GMT"
        web.replies["/a"] = [Reply(status=429, headers={"Retry-After": value}), Reply(body=b"ok")]
        started = time.monotonic()
        assert store_at(web.url).read("a", limit=10) == b"ok"
        # Capped at longest_wait_seconds, which is far above what the back-off would have been.
        assert 0.3 <= time.monotonic() - started < 2

    def test_a_wait_beyond_the_calls_time_ends_at_once(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(status=503, headers={"Retry-After": "50"})
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"503; waiting 50 s more would exceed"):
            store_at(web.url, longest_wait_seconds=60).read("a", limit=10)
        assert time.monotonic() - started < 2

    def test_retry_after_forms(self) -> None:
        now = datetime(2026, 1, 1, tzinfo=timezone.utc)
        assert retry_after("7", now) == 7
        assert retry_after("Thu, 01 Jan 2026 00:00:09 GMT", now) == 9
        assert retry_after("Thu, 01 Jan 2025 00:00:09 GMT", now) == 0
        assert [retry_after(text, now) for text in (None, "", "soon", "-3", "1.5")] == [None] * 5

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("bytes 5-9/100", "another range"),
            ("bytes 10-30/100", "another range"),
            ("bytes 10-19/15", "beyond the object's end"),
            ("", "not asked for"),
            ("items 10-19/100", "not asked for"),
        ],
    )
    def test_another_range_than_asked_for(self, web: WebServer, place: str, message: str) -> None:
        web.replies["/a"] = Reply(status=206, body=b"x" * 10, headers={"Content-Range": place})
        with pytest.raises(StoreUnavailable, match=message):
            stream(store_at(web.url), offset=10, length=10)

    def test_a_wrong_length_in_a_range(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(status=206, body=b"x" * 9, headers={"Content-Range": "bytes 10-19/100"})
        with pytest.raises(StoreUnavailable, match="9 bytes for a range of 10"):
            stream(store_at(web.url), offset=10, length=10)

    def test_a_content_encoding_is_refused(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(body=gzip.compress(DATA), headers={"Content-Encoding": "gzip"})
        with pytest.raises(StoreUnavailable, match="Content-Encoding 'gzip', which was not asked for"):
            store_at(web.url).read("a", limit=10**6)
        with pytest.raises(StoreUnavailable, match="Content-Encoding"):
            stream(store_at(web.url))

    @pytest.mark.parametrize(
        "head",
        [b"HTTP/1.1 banana\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000],
    )
    def test_what_is_no_http(self, head: bytes) -> None:
        with raw_server(lambda connection, _: connection.sendall(head)) as url:
            with pytest.raises(StoreUnavailable) as caught:
                store_at(url).read("a", limit=10)
            assert "\n" not in str(caught.value)


class TestTimeAndSize:
    """Servers that never end, or never begin."""

    def test_an_announced_length_beyond_the_limit_is_not_read(self) -> None:
        sent: list[int] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    sent.append(connection.send(bytes(KB64)))

        with raw_server(answer) as url, pytest.raises(VerificationFailed, match="larger than the 10 bytes"):
            store_at(url).read("a", limit=10)
        assert sum(sent) < 30_000_000

    def test_endless_body_is_cut_at_the_limit(self) -> None:
        sent: list[int] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"10000\r\n" + bytes(KB64) + b"\r\n")
                    sent.append(KB64)

        with raw_server(answer) as url, pytest.raises(VerificationFailed, match="larger than the 1000000"):
            store_at(url).read("a", limit=1_000_000)
        assert sum(sent) < 30_000_000

    def test_silence_times_out(self) -> None:
        seen: list[bytes] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            seen.append(head)
            connection.recv(1)

        started = time.monotonic()
        with raw_server(answer) as url, pytest.raises(StoreUnavailable, match="no answer in time"):
            store_at(url, timeout_seconds=0.2, retries=1).read("a", limit=10)
        assert len(seen) == 2
        assert 0.4 <= time.monotonic() - started < 3

    @pytest.mark.parametrize("where", ["body", "headers"])
    def test_slow_drip_times_out(self, where: str) -> None:
        def answer(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            connection.sendall(b"Content-Length: 100\r\n\r\n" if where == "body" else b"X-Drip: ")
            for _ in range(400):
                connection.sendall(b"x")
                time.sleep(0.02)

        started = time.monotonic()
        with raw_server(answer) as url, pytest.raises(StoreUnavailable, match=r"too slow: \d+ bytes in"):
            store_at(url).read("a", limit=1000)
        assert 0.5 <= time.monotonic() - started < 3

    def test_a_call_has_a_total_time(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(status=503)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"longer than|would exceed"):
            store_at(web.url, total_seconds=0.5, retries=10**6, longest_wait_seconds=0.05).read("a", limit=10)
        assert time.monotonic() - started < 3

    def test_the_consumers_time_is_not_the_servers(self, web: WebServer) -> None:
        web.replies["/a"] = ranged(DATA)
        got = b""
        for chunk in store_at(web.url, total_seconds=0.2, minimum_rate=10**6, timeout_seconds=0.2).stream(
            "a", offset=0, length=len(DATA)
        ):
            got += chunk
            time.sleep(0.25)
        assert got == DATA


class TestRedirects:
    """Where a server may send a host, and with what."""

    @pytest.fixture
    def other(self) -> Iterator[WebServer]:
        with WebServer() as server:
            yield server

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_followed(self, web: WebServer, other: WebServer, status: int) -> None:
        web.replies["/s/a"] = Reply(
            status=status, headers={"Location": f"{other.url}/x?sig=1"}, body=b"moved"
        )
        other.replies["/x"] = ranged(DATA)
        assert stream(store_at(f"{web.url}/s"), offset=5, length=10) == DATA[5:15]
        assert other.requests[0].headers["Range"] == "bytes=5-14"

    def test_credentials_stay_with_the_stores_own_origin(self, web: WebServer, other: WebServer) -> None:
        web.replies["/a"] = Reply(status=302, headers={"Location": "/b"})
        web.replies["/b"] = Reply(status=302, headers={"Location": f"{other.url}/c"})
        other.replies["/c"] = Reply(body=b"ok")
        assert store_at(web.url, authorization=f"Bearer {CANARY}").read("a", limit=2) == b"ok"
        assert [request.headers.get("Authorization") for request in web.requests] == [f"Bearer {CANARY}"] * 2
        assert CANARY not in str(other.requests)

    def test_a_netrc_entry_of_another_host_is_not_sent_there(
        self, web: WebServer, other: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine localhost login me password {CANARY}\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        there = other.url.replace("127.0.0.1", "localhost")
        web.replies["/a"] = Reply(status=302, headers={"Location": f"{there}/c"})
        other.replies["/c"] = Reply(body=b"ok")
        assert store_at(web.url).read("a", limit=2) == b"ok"
        assert "Authorization" not in other.requests[0].headers

    def test_an_endless_redirect_is_not_read(self) -> None:
        sent: list[int] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"10000\r\n" + bytes(KB64) + b"\r\n")
                    sent.append(KB64)

        with raw_server(answer) as url, pytest.raises(StoreUnavailable, match="more than 3 redirects"):
            store_at(url).read("a", limit=10)
        assert sum(sent) < 100_000_000

    def test_redirect_loop(self, web: WebServer) -> None:
        web.replies["/a"] = Reply(status=302, headers={"Location": "/a"})
        with pytest.raises(StoreUnavailable, match="more than 3 redirects"):
            store_at(web.url).read("a", limit=10)
        assert len(web.requests) == 4

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("http://169.254.169.254/latest/meta-data", "metadata address"),
            ("http://[fe80::1]/", "metadata address"),
            ("http://[fd00:ec2::254]/", "metadata address"),
            ("http://[::ffff:169.254.169.254]/", "metadata address"),
            ("http://[64:ff9b::a9fe:a9fe]/", "metadata address"),
            ("http://metadata.google.internal./x", "metadata address"),
            ("http://0xA9FEA9FE/", "metadata address"),
            ("http://2852039166/", "metadata address"),
            ("file:///etc/passwd", "another scheme"),
            ("ftp://127.0.0.1/", "another scheme"),
            (f"http://me:{CANARY}@127.0.0.1/", "credentials in it"),
            ("http://[::1/", "malformed"),
            ("http://127.0.0.1:99999/", "malformed"),
            ("", "malformed"),
        ],
    )
    def test_where_no_redirect_leads(self, web: WebServer, target: str, message: str) -> None:
        web.replies["/a"] = Reply(status=302, headers={"Location": target} if target else {})
        with pytest.raises(VenvoyError, match=message) as caught:
            # On hosts without a route to such an address connecting itself may fail first.
            store_at(web.url, retries=0).read("a", limit=10)
        assert isinstance(caught.value, (Refused, StoreUnavailable))
        assert CANARY not in str(caught.value)
        assert len(web.requests) == 1

    def test_a_name_that_leads_to_a_metadata_address(
        self, web: WebServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DNS rebinding: the address is looked at when the connection stands, before a byte is sent."""
        # No such address answers here; another one of this host's takes its place.
        monkeypatch.setattr("distributor.stores.http.urls._FORBIDDEN", (ip_network("127.0.0.2/32"),))
        listener = socket.create_server(("127.0.0.2", 0))
        port = listener.getsockname()[1]
        with listener:
            web.replies["/a"] = Reply(status=302, headers={"Location": f"http://2130706434:{port}/x"})
            with pytest.raises(Refused, match="metadata address"):
                store_at(web.url).read("a", limit=10)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == b""
            named = store_at(f"http://127.0.0.2:{port}", timeout_seconds=0.2, retries=0)
            with pytest.raises(StoreUnavailable, match="no answer in time"):  # but it was asked
                named.read("a", limit=10)

    @pytest.mark.parametrize(
        ("address", "forbidden"),
        [
            ("169.254.0.1", True),
            ("169.253.0.1", False),
            ("fe80::1%eth0", True),
            ("100.100.100.200", True),
            ("10.0.0.1", False),
            ("127.0.0.1", False),
            ("2002:a9fe:a9fe::1", True),
            ("repo.example", False),
        ],
    )
    def test_forbidden_addresses(self, address: str, forbidden: bool) -> None:
        assert is_forbidden_address(address) is forbidden


def authority(common_name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    return _certificate(common_name, None)


def _certificate(
    common_name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _pem(path: Path, pair: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> tuple[Path, Path]:
    cert, key = path.with_suffix(".crt"), path.with_suffix(".key")
    cert.write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    key.chmod(0o600)
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    ca = authority("site CA")
    return {
        "ca": _pem(folder / "ca", ca),
        "server": _pem(folder / "server", _certificate("server", ca)),
        "client": _pem(folder / "client", _certificate("client", ca)),
    }


class TestTls:
    """Own certificate authorities and client certificates."""

    @staticmethod
    def context(files: dict[str, tuple[Path, Path]], *, client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files["server"])
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files["ca"][0])
        return context

    def test_own_ca(self, files: dict[str, tuple[Path, Path]]) -> None:
        with WebServer(self.context(files)) as web:
            web.replies["/a"] = ranged(DATA)
            assert stream(store_at(web.url, ca_bundle=files["ca"][0])) == DATA
            started = time.monotonic()
            with pytest.raises(
                StoreUnavailable, match=r"not trusted \(.*\); name the CA's file in VENVOY_CA_BUNDLE"
            ):
                store_at(web.url).read("a", limit=10)
            assert time.monotonic() - started < 2
            assert len(web.requests) == 1

    def test_client_certificate(self, files: dict[str, tuple[Path, Path]]) -> None:
        with WebServer(self.context(files, client=True)) as web:
            web.replies["/a"] = Reply(body=DATA)
            ca, (cert, key) = files["ca"][0], files["client"]
            known = store_at(web.url, ca_bundle=ca, client_cert=cert, client_key=key)
            assert known.read("a", limit=len(DATA)) == DATA
            with pytest.raises(StoreUnavailable, match="a in https://"):
                store_at(web.url, ca_bundle=ca).read("a", limit=10)
            assert len(web.requests) == 1

    def test_no_redirect_from_https_to_http(
        self, files: dict[str, tuple[Path, Path]], web: WebServer
    ) -> None:
        web.replies["/a"] = Reply(body=b"altered")
        with WebServer(self.context(files)) as secure:
            secure.replies["/a"] = Reply(status=302, headers={"Location": f"{web.url}/a"})
            with pytest.raises(Refused, match="from https: to http:"):
                store_at(secure.url, ca_bundle=files["ca"][0]).read("a", limit=10)
        assert web.requests == []

    def test_the_bundle_comes_from_the_environment(
        self, files: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "VENVOY_CA_BUNDLE",
        ):  # each outranks the one before
            monkeypatch.setenv(name, str(files["ca"][0]))
            assert HttpOptions.from_environment().ca_bundle == files["ca"][0]
            monkeypatch.setenv(name, str(files["server"][0]))
        monkeypatch.setenv("VENVOY_CA_BUNDLE", "/nonexistent/ca.pem")
        with pytest.raises(NotFound, match=r"VENVOY_CA_BUNDLE: /nonexistent/ca\.pem does not exist"):
            open_store("https://127.0.0.1/")


class TestCredentials:
    """Where they come from, and that they show nowhere."""

    @staticmethod
    def auth_file(folder: Path, text: str, mode: int = 0o600) -> Path:
        path = folder / "auth"
        path.write_text(text)
        path.chmod(mode)
        return path

    @pytest.mark.parametrize(
        ("text", "header"),
        [
            (f"Bearer {CANARY}\n", f"Bearer {CANARY}"),
            (f"me:{CANARY}:x\n", "Basic " + base64.b64encode(f"me:{CANARY}:x".encode()).decode()),
        ],
    )
    def test_a_file_of_credentials(
        self, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, header: str
    ) -> None:
        monkeypatch.setenv("VENVOY_HTTP_AUTH_FILE", str(self.auth_file(tmp_path, text)))
        web.replies["/a"] = Reply(body=b"ok")
        store = open_store(web.url)
        assert store.read("a", limit=2) == b"ok"
        assert web.requests[0].headers["Authorization"] == header
        assert CANARY not in f"{store!r} {HttpOptions.from_environment()!r} {store.location}"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_a_file_that_others_may_read_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
    ) -> None:
        monkeypatch.setenv("VENVOY_HTTP_AUTH_FILE", str(self.auth_file(tmp_path, f"me:{CANARY}", mode)))
        with pytest.raises(Refused, match=r"open to other users; run: chmod 600 .*/auth"):
            open_store("http://127.0.0.1/")

    @pytest.mark.parametrize(
        "text",
        ["", CANARY, f"me:{CANARY}\nX-Injected: 1", "Bearer ", f"Bearer {CANARY} x", f"me:{CANARY}\x00"],
    )
    def test_other_content_is_refused_and_not_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setenv("VENVOY_HTTP_AUTH_FILE", str(self.auth_file(tmp_path, text)))
        with pytest.raises(InvalidInput, match="'user:password' or 'Bearer token'") as caught:
            open_store("http://127.0.0.1/")
        assert CANARY not in str(caught.value)

    def test_netrc(self, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        web.replies["/a"] = Reply(body=b"ok")
        store_at(web.url).read("a", limit=2)
        assert web.requests[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("VENVOY_HTTP_TIMEOUT", "soon"),
            ("VENVOY_HTTP_TIMEOUT", "0"),
            ("VENVOY_HTTP_TIMEOUT", "nan"),
            ("VENVOY_HTTP_MIN_RATE", "fast"),
            ("VENVOY_CLIENT_KEY", __file__),
        ],
    )
    def test_settings_that_cannot_be(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(InvalidInput, match=name):
            open_store("http://127.0.0.1/")

    def test_settings_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VENVOY_HTTP_TIMEOUT", "2.5")
        monkeypatch.setenv("VENVOY_HTTP_MIN_RATE", "10K")
        options = HttpOptions.from_environment()
        assert (options.timeout_seconds, options.connect_seconds, options.minimum_rate) == (2.5, 2.5, 10_000)

    def test_canary_no_secret_shows_anywhere(
        self,
        web: WebServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Every way to fail, with a secret in header, proxy and redirect, and every log switched on."""
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("VENVOY_HTTP_AUTH_FILE", str(self.auth_file(tmp_path, f"me:{CANARY}")))
        encoded = base64.b64encode(f"me:{CANARY}".encode()).decode()
        web.replies["/denied"] = Reply(status=401)
        web.replies["/to-user"] = Reply(status=302, headers={"Location": f"http://me:{CANARY}@127.0.0.1/"})
        web.replies["/to-dead"] = Reply(
            status=302, headers={"Location": f"http://127.0.0.1:1/x?sig={CANARY}"}
        )
        web.replies["/cut"] = Reply(body=DATA, cut=0)
        texts = []
        options = with_options(authorization=HttpOptions.from_environment().authorization, retries=0)
        for proxy in (
            "",
            f"http://me:{CANARY}@127.0.0.1:1",
            f"http://me:{CANARY}@:bad",
            f"xx://me:{CANARY}@h",
        ):
            monkeypatch.setenv("HTTP_PROXY", proxy)
            monkeypatch.setenv("http_proxy", proxy)
            for path in ("denied", "to-user", "to-dead", "cut", "missing"):
                with pytest.raises(VenvoyError) as caught:
                    HttpStore(web.url, options).read(path, limit=10)
                texts += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
        for location in (
            f"http://me:{CANARY}@h/",
            f"https://h/?token={CANARY}",
            f"https://h/#{CANARY}",
        ):
            for opened in (open_store, open_writable_store):
                with pytest.raises(VenvoyError) as caught:
                    opened(location)
                texts.append(str(caught.value))
        assert len(texts) == 4 * 5 * 3 + 6
        shown = "\n".join(texts)
        assert CANARY not in shown
        assert encoded not in shown
        # urllib3 logs the URL that a server redirected to; that one is not our secret.
        logs = caplog.text.replace(f"/x?sig={CANARY}", "")
        assert CANARY not in logs
        assert encoded not in logs
        assert encoded in str(web.requests)


class TestProxy:
    """A proxy of the environment."""

    @pytest.fixture
    def proxy(self) -> Iterator[tuple[str, list[bytes]]]:
        heads: list[bytes] = []

        def answer(connection: socket.socket, head: bytes) -> None:
            heads.append(head)
            target = head.split(b" ")[1].decode()
            if not target.startswith("http://repo.example"):
                connection.sendall(b"HTTP/1.1 502 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        with raw_server(answer) as url:
            yield url, heads

    def test_requests_go_through_it(
        self, proxy: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", proxy[0].replace("//", "//me:pass@"))
        assert store_at("http://repo.example/s", authorization="Bearer t").read("a", limit=2) == b"ok"
        head = proxy[1][0]
        assert head.startswith(b"GET http://repo.example/s/a HTTP/1.1\r\n")
        assert b"\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n" in head
        assert b"\r\nAuthorization: Bearer t\r\n" in head

    def test_no_proxy_keeps_away_from_it(
        self, proxy: tuple[str, list[bytes]], web: WebServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", proxy[0])
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        web.replies["/a"] = Reply(body=b"ok")
        assert store_at(web.url).read("a", limit=2) == b"ok"
        assert proxy[1] == []


class TestLocations:
    """URLs of stores."""

    @pytest.mark.parametrize(
        ("location", "normal"),
        [
            ("https://Repo.Example:443/a%20b//", "https://repo.example/a%20b"),
            ("http://repo.example:80", "http://repo.example"),
            ("HTTP://repo.example:8080/", "http://repo.example:8080"),
            ("http://[::1]:8080/x/", "http://[::1]:8080/x"),
        ],
    )
    def test_normal_form(self, location: str, normal: str) -> None:
        assert open_store(location).location == normal

    @pytest.mark.parametrize(
        "location",
        [
            "http:",
            "http:///x",
            "http:/x",
            "https://h/?a=b",
            "https://h/#x",
            "https://h/a/../b",
            "https://h/a b",
            "https://h:99999/",
            "https://h:x/",
            "https://[::1/",
            "https://h/\u00e9",
            "https://h\\@x/",
        ],
    )
    def test_what_is_no_store(self, location: str) -> None:
        with pytest.raises(InvalidInput, match="store's URL"):
            open_store(location)

    def test_objects_are_quoted(self) -> None:
        url = store_url("http://h/s").of("a/1.0+x!2 ~%.json")
        assert url == "http://h/s/a/1.0%2Bx%212%20~%25.json"

    def test_it_is_read_only(self) -> None:
        with pytest.raises(
            Refused, match=r"http://h/s is read-only: publish to the directory or bucket behind"
        ):
            open_writable_store("http://h/s")

    def test_requests_is_imported_when_a_web_store_is_opened(self) -> None:
        code = (
            "import sys\nfrom distributor.stores.location import open_store\nopen_store('x')\n"
            "assert 'requests' not in sys.modules\nopen_store('http://h')\nassert 'requests' in sys.modules\n"
            "del sys.modules['requests'], sys.modules['distributor.stores.http.store']\n"
            "del sys.modules['distributor.stores.http.transport']\nsys.modules['requests'] = None\n"
            "try: open_store('http://h')\nexcept Exception as error: print(type(error).__name__, error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == (
            "InvalidInput stores at http: and https: need requests; install it: pip install 'venvoy[http]'\n"
        )


def layer_of(data: bytes) -> Layer:
    fields = dict.fromkeys(inspect.signature(Layer).parameters)
    known = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest(), "offset": 0}
    return Layer(**{**fields, **known})  # type: ignore[arg-type]


def test_a_corrupt_byte_passes_the_store_and_not_the_digest(web: WebServer, tmp_path: Path) -> None:
    corrupt = bytearray(DATA)
    corrupt[KB64] ^= 1
    web.replies["/a"] = ranged(bytes(corrupt))
    store = store_at(web.url)
    with pytest.raises(VerificationFailed, match="sha256 is"):
        verified_bytes(layer_of(DATA), store.stream("a", offset=0, length=len(DATA)), tmp_path)
    web.replies["/a"] = ranged(DATA)
    with verified_bytes(layer_of(DATA), store.stream("a", offset=0, length=len(DATA)), tmp_path) as held:
        assert held.read() == DATA


@pytest.mark.parametrize("announced", [-1, 1])
def test_a_wrong_length_is_never_the_right_bytes(announced: int, tmp_path: Path) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        count = len(DATA) + announced
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count + DATA)

    with raw_server(answer) as url:
        if announced < 0:
            with pytest.raises(StoreUnavailable, match="ends at byte"):
                stream(store_at(url))
        else:  # what was asked for came whole
            assert stream(store_at(url)) == DATA
        for _ in range(2):  # the excess of one answer is not the next one's beginning
            with contextlib.suppress(StoreUnavailable):
                assert store_at(url).read("a", limit=10**6) == DATA[: len(DATA) + announced]


def test_a_forked_process_has_a_connection_of_its_own(web: WebServer) -> None:
    ports: list[int] = []
    original = web.answer

    def answer(handler: Any) -> None:
        ports.append(handler.client_address[1])
        original(handler)

    web.answer = answer  # type: ignore[method-assign]
    web.replies["/a"] = ranged(DATA)
    code = (
        "import os, sys\nfrom distributor.stores.location import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "read = lambda: b''.join(store.stream('a', offset=0, length=100000))\n"
        "first = read()\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n        os._exit(0 if read() == first == read() else 1)\n"
        "assert read() == first\n"
        "assert [os.wait()[1] for _ in range(2)] == [0, 0]\nassert read() == first\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, web.url], cwd=ROOT, check=True)
    assert len(ports) == 1 + 4 + 2
    assert len(set(ports)) == 3


def test_threads_have_connections_of_their_own(web: WebServer) -> None:
    web.replies["/a"] = ranged(DATA)
    store = store_at(web.url)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(stream(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 8


def test_a_write_to_a_closed_connection_does_not_end_the_process() -> None:
    """Commands restore SIGPIPE's default; a server that hangs up early must not end them."""
    code = (
        "import os, signal\nfrom distributor.stores.http.connection import pipe_errors\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\nreading, writing = os.pipe()\nos.close(reading)\n"
        "with pipe_errors():\n"
        "    try: os.write(writing, b'x')\n    except BrokenPipeError: print('told', flush=True)\n"
        "os.write(writing, b'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("told\n", -signal.SIGPIPE)


def test_every_foreign_exception_is_translated() -> None:
    rows = [foreign for foreign, _, _ in TABLE]
    foreign_classes = {
        item
        for module in (requests.exceptions, urllib3.exceptions, http.client, ssl)
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, Exception)
        and not issubclass(item, Warning)
        and item.__module__ in ("requests.exceptions", "urllib3.exceptions", "http.client", "ssl")
    }
    assert len(foreign_classes) > 60
    for item in foreign_classes:
        blank = item.__new__(item)
        failure = translate(blank)
        assert failure is not None, item
        assert "\n" not in str(failure)
    for position, row in enumerate(rows):
        assert not any(issubclass(row, earlier) for earlier in rows[:position]), row


def test_bugs_are_not_dressed_up_as_errors() -> None:
    assert translate(AssertionError("bug")) is None
    assert translate(KeyError("bug")) is None
