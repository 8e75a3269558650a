"""``venvoy serve-store`` over real sockets: RFC 9110 to the letter, and nothing but objects."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributor.stores import server as store_server
from distributor.stores.directory import DirectoryStore
from distributor.stores.http.options import HttpOptions
from distributor.stores.http.store import HttpStore
from distributor.stores.server import StoreServer, byte_range, cache_control, parse_listen
from manifests.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DATA = os.urandom(300_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = DirectoryStore(tmp_path / "store")
    store.write_if_absent("artifacts/nova/nova-1.0+x!2.tar.zst", DATA)
    store.write_if_absent("metadata/timestamp.json", b"{}")
    store.write_if_absent("empty", b"")
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path / "store"


@pytest.fixture
def server(root: Path) -> Iterator[StoreServer]:
    server = StoreServer(root, ("127.0.0.1", 0), log=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.stop()
    thread.join()


ARTIFACT = "/artifacts/nova/nova-1.0%2Bx%212.tar.zst"


class Client:
    """One keep-alive connection."""

    def __init__(self, server: StoreServer) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)

    def __call__(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        self.connection.request(method, path, headers=headers or {})
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


@pytest.fixture
def get(server: StoreServer) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.connection.close()


def test_an_object_with_all_its_headers(get: Client) -> None:
    status, headers, body = get(ARTIFACT)
    assert (status, body) == (200, DATA)
    assert headers["content-length"] == "300000"
    assert headers["accept-ranges"] == "bytes"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["last-modified"].endswith(" GMT")
    assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+-[0-9a-f]+"', headers["etag"])
    status, described, body = get(ARTIFACT, method="HEAD")
    assert (status, body) == (200, b"")
    assert described == {**headers, "date": described["date"]}


@pytest.mark.parametrize(
    ("path", "immutable"),
    [
        ("artifacts/nova/x.json.gz", True),
        ("patches/x", True),
        ("sbom/x", True),
        ("provenance/x", True),
        ("metadata/12.snapshot.json", True),
        ("metadata/1.root.json", True),
        ("metadata/timestamp.json", False),
        ("metadata/x.snapshot.json", False),
        ("metadata/1.root.json/x", False),
        ("pins/1.json", False),
        ("artifacts", False),
    ],
)
def test_what_caches_may_keep_for_ever(path: str, immutable: bool) -> None:
    assert ("immutable" in cache_control(path)) is immutable
    assert (cache_control(path) == "no-cache") is not immutable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=3-9", (3, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("BYTES = 1-2 ", (1, 3)),
        ("bytes=10-", (10, 10)),
        ("bytes=11-12", (10, 10)),
        ("bytes=-0", (10, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2,4-5", None),
        ("items=1-2", None),
        ("", None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


def test_ranges_over_the_wire(get: Client) -> None:
    status, headers, body = get(ARTIFACT, {"Range": "bytes=5-9"})
    assert (status, body) == (206, DATA[5:10])
    assert headers["content-range"] == "bytes 5-9/300000"
    status, headers, body = get(ARTIFACT, {"Range": "bytes=300000-"})
    assert (status, body, headers["content-range"]) == (416, b"", "bytes */300000")
    assert get("/empty", {"Range": "bytes=0-"})[0] == 416
    assert get(ARTIFACT, {"Range": "bytes=0-1,4-5"})[0] == 200
    assert get(ARTIFACT, {"Range": "bytes=0-1"}, method="HEAD")[0] == 200  # ranges are defined for GET


def test_conditions(get: Client, root: Path) -> None:
    _, headers, _ = get("/metadata/timestamp.json")
    tag = headers["etag"]
    for value in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        status, again, body = get("/metadata/timestamp.json", {"If-None-Match": value})
        assert (status, body, again["etag"]) == (304, b"", tag)
    assert get("/metadata/timestamp.json", {"If-None-Match": '"x"'})[0] == 200
    assert get("/metadata/timestamp.json", {"Range": "bytes=0-0", "If-Range": tag})[0] == 206
    for other in ('"x"', f"W/{tag}", headers["last-modified"]):
        assert get("/metadata/timestamp.json", {"Range": "bytes=0-0", "If-Range": other})[2] == b"{}"
    store = DirectoryStore(root)
    found = store.read_versioned("metadata/timestamp.json", limit=10)
    assert found is not None
    assert store.replace_if_unchanged("metadata/timestamp.json", b"[]", found[1])
    status, changed, body = get("/metadata/timestamp.json", {"If-None-Match": tag})
    assert (status, body) == (200, b"[]")
    assert changed["etag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/artifacts",
        "/artifacts/",
        "/missing",
        "/../secret",
        "/%2e%2e/secret",
        "/artifacts/%2e%2e/%2e%2e/secret",
        "//secret",
        "/.lock",
        "/artifacts/.hidden",
        "/link",
        "/folder/secret",
        "/pipe",
        "/%ff",
        "/a%00b",
        "*",
        "http://127.0.0.1/../secret",
    ],
)
def test_nothing_but_objects_is_served(get: Client, root: Path, path: str) -> None:
    (root / ".lock").write_bytes(b"secret")
    (root / "artifacts/.hidden").write_bytes(b"secret")
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    os.mkfifo(root / "pipe")
    status, headers, body = get(path)
    assert (status, body) == (404, b"404 Not Found\n")
    assert "list" not in headers.get("content-type", "")
    assert get("/metadata/timestamp.json")[2] == b"{}"  # the connection goes on


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "OPTIONS", "PATCH"])
def test_it_is_read_only(get: Client, root: Path, method: str) -> None:
    before = sorted(root.rglob("*"))
    status, headers, _ = get("/metadata/new.json", method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert sorted(root.rglob("*")) == before


def test_a_request_with_a_body_is_not_the_next_request(server: StoreServer) -> None:
    with socket.create_connection(server.server_address[:2], timeout=5) as client:
        smuggled = b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(
            b"GET /empty HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled
        )
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                answer += data
    assert answer.count(b"HTTP/1.1 ") == 1


def test_pipelined_requests_are_all_answered(server: StoreServer) -> None:
    request = b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(server.server_address[:2], timeout=5) as client:
        client.sendall(request * 3)
        answer = b""
        while answer.count(b"{}") < 3:
            answer += client.recv(65536)
    assert answer.count(b"HTTP/1.1 200 OK") == 3


def test_idle_connections_make_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_server, "MAX_THREADS", 2)
    monkeypatch.setattr(store_server, "_TICK_SECONDS", 0.02)
    server = StoreServer(root, ("127.0.0.1", 0), log=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    before = threading.active_count()
    thread.start()
    clients = [Client(server) for _ in range(6)]
    try:
        for client in clients:
            assert client("/metadata/timestamp.json")[2] == b"{}"
        assert threading.active_count() - before < 6
    finally:
        for client in clients:
            client.connection.close()
        server.stop()
        thread.join()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        (":8080", ("", 8080)),
        ("repo.example:80", ("repo.example", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "8080", "::1:8080", "host:", "host:99999", "host:x", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"write HOST:PORT, as in 127\.0\.0\.1:8080"):
        parse_listen(text)


def test_places_where_it_cannot_be(server: StoreServer, root: Path) -> None:
    port = server.server_address[1]
    with pytest.raises(
        Refused, match=f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another"
    ):
        StoreServer(root, ("127.0.0.1", port))
    with pytest.raises(NotFound, match="is not a directory"):
        StoreServer(root / "none", ("127.0.0.1", 0))
    with pytest.raises(InvalidInput, match="cannot be resolved"):
        StoreServer(root, ("no-such-host.invalid", 0))


def started(root: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "venvoy.py"),
            "serve-store",
            str(root),
            "--listen",
            "127.0.0.1:0",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_ends_when_requests_are_answered(tmp_path: Path, number: int) -> None:
    size = 30_000_000
    (tmp_path / "big").write_bytes(bytes(size))
    process, line = started(tmp_path)
    match = re.fullmatch(rf"serving {tmp_path} at http://127\.0\.0\.1:(\d+)/\n", line)
    assert match is not None
    with socket.create_connection(("127.0.0.1", int(match[1])), timeout=5) as client:
        client.sendall(b"GET /big?token=secret HTTP/1.1\r\nHost: x\r\n\r\n")
        received = len(client.recv(4096))
        process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        while data := client.recv(1 << 20):
            received += len(data)
    output, log = process.communicate(timeout=10)
    assert received > size
    assert (process.returncode, output) == (0, "")
    assert re.fullmatch(r"127\.0\.0\.1 GET '/big' 200 30000000 [0-9.]+s\n", log)


def test_a_client_that_hangs_up_does_not_end_the_command(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(30_000_000))
    process, line = started(tmp_path, "--json", "--quiet")
    try:
        document = json.loads(line)
        assert document["serving"] == str(tmp_path)
        port = int(document["url"].rstrip("/").rpartition(":")[2])
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                client.recv(10)
        store = HttpStore(document["url"], HttpOptions(retries=0))
        assert store.size("big") == 30_000_000
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    assert (process.returncode, log) == (0, "")


def test_errors_of_the_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "venvoy.py"), "serve-store"]
    for arguments, code, words in (
        (["none"], 5, "none is not a directory"),
        ([".", "--listen", "x"], 2, "write HOST:PORT"),
        ([".", "--listen", "192.0.2.1:8080", "--json"], 9, "cannot listen on 192.0.2.1:8080"),
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr


def _resident_kb(pid: int) -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1])


@pytest.mark.slow
def test_fifty_processes_read_at_once_and_memory_stays_flat(tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "big").write_bytes(data)
    process, line = started(tmp_path, "--quiet", "--json")
    code = (
        "import hashlib, sys\nfrom distributor.stores.location import open_store\n"
        "store = open_store(sys.argv[1])\ndigest = hashlib.sha256()\n"
        "for at in range(0, 20_000_000, 1_000_000):\n"
        "    for chunk in store.stream('big', offset=at, length=1_000_000): digest.update(chunk)\n"
        "print(digest.hexdigest())\n"
    )
    try:
        url = json.loads(line)["url"]
        assert HttpStore(url, HttpOptions()).size("big") == len(data)
        before = _resident_kb(process.pid)
        readers = [
            subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for _ in range(50)
        ]
        highest = before
        while any(reader.poll() is None for reader in readers):
            highest = max(highest, _resident_kb(process.pid))
            time.sleep(0.05)
        digests = {reader.communicate()[0] for reader in readers}
        assert [reader.returncode for reader in readers] == [0] * 50
        assert len(digests) == 1
        assert highest - before < 16_000, f"{before} kB before, {highest} kB at most"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
