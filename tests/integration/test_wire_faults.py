"""An upgrade over a wire that fails, over real sockets: the right tree, or a clear error and no change."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.http_server import Reply, Request, WebServer, ranged, raw_server, reset
from tests.small_site import SmallSite, litter, run, snapshot, venvoy
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Page = Callable[[Request], Reply]

slow = pytest.mark.slow
BIG = 400_000
PATIENCE = {"VENVOY_HTTP_TIMEOUT": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    made.release("1.0.0")
    more = [
        make_wheel(made.directory / "more", f"part{number}", "1", {f"part{number}.bin": os.urandom(90_000)})
        for number in range(4)
    ]
    made.release("2.0.0", files={"demo/big.bin": os.urandom(BIG)}, more_wheels=more)
    return made


@pytest.fixture
def host(site: SmallSite, tmp_path: Path) -> Path:
    """A host that has 1.0.0, and nothing cached."""
    dest = tmp_path / "host/demo"
    done = venvoy(
        *("install", "demo", "--release", "1.0.0", "--dest", dest, "--store", site.store, "--no-cache"),
        *("--root", site.root, "--state", tmp_path / "state"),
    )
    assert done.returncode == 0, done.stderr
    return dest


def pages(site: SmallSite, fault: Callable[[str, bytes], Page | None] = lambda *_: None) -> dict[str, Any]:
    """Return the whole store as pages; *fault* may replace one, by its path and content."""
    found: dict[str, Any] = {}
    for path in site.store.rglob("*"):
        if path.is_file():
            name, body = str(path.relative_to(site.store)), path.read_bytes()
            found[f"/{name}"] = fault(name, body) or ranged(body, headers={"ETag": f'"{hash(body)}"'})
    return found


def upgrade(site: SmallSite, host: Path, *stores: str) -> Any:
    mirrors = [word for store in stores for word in ("--store", store)]
    return venvoy(
        *("install", "demo", "--release", "2.0.0", "--dest", host, *mirrors, "--root", site.root),
        *("--state", host.parent.parent / "state", "--json"),
        env=PATIENCE,
    )


def succeeds(site: SmallSite, host: Path, *stores: str) -> dict[str, Any]:
    done = upgrade(site, host, *stores)
    assert done.returncode == 0, done.stderr
    assert run([str(host / "bin/demo-manage")]).stdout == "demo 2.0.0\n"
    assert venvoy("verify", host).returncode == 0
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def fails(site: SmallSite, host: Path, code: int, *stores: str) -> str:
    """The upgrade must end with *code*, in a few clear lines, and the host is what it was."""
    before = snapshot(host, times=True)
    done = upgrade(site, host, *stores)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(host, times=True) == before
    assert litter(host.parent) == []
    error: str = json.loads(done.stdout)["error"]
    return error


def is_tarball(name: str) -> bool:
    return name.endswith(".tar.zst") and "2.0.0" in name


def test_neighbours_come_in_one_request(site: SmallSite, host: Path) -> None:
    with WebServer() as web:
        web.replies = pages(site)
        result = succeeds(site, host, web.url)
        parts = [request for request in web.requests if is_tarball(request.path)]
    assert len(parts) == 1
    assert result["fetched_bytes"] > BIG


def test_cut_at_every_64_kb(site: SmallSite, host: Path) -> None:
    with WebServer() as web:
        web.replies = pages(
            site,
            lambda name, body: ranged(body, cut=65536, headers={"ETag": '"x"'}) if is_tarball(name) else None,
        )
        succeeds(site, host, web.url)
        assert len([request for request in web.requests if is_tarball(request.path)]) > BIG // 65536


def test_a_server_that_knows_no_ranges(site: SmallSite, host: Path) -> None:
    with WebServer() as web:
        web.replies = pages(site, lambda _, body: lambda _: Reply(body=body))
        succeeds(site, host, web.url)


@pytest.mark.parametrize("every", [pytest.param(1, marks=slow), 2])
def test_resets(site: SmallSite, host: Path, every: int) -> None:
    """Every answer, or every other one, is a reset."""
    asked = 0

    def fault(name: str, body: bytes) -> Page:
        whole = ranged(body)

        def page(request: Request) -> Reply:
            nonlocal asked
            asked += 1
            return whole(request) if asked % every else Reply(body=body, cut=0)

        return page

    with WebServer() as web:
        web.replies = pages(site, fault)
        if every == 1:
            assert "attempts" in fails(site, host, 7, web.url)
        else:
            succeeds(site, host, web.url)


def corrupt(name: str, body: bytes) -> Page | None:
    """Flip one byte in the middle of the tarball."""
    if not is_tarball(name):
        return None
    middle = len(body) // 2
    return ranged(body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])


def test_a_corrupt_byte(site: SmallSite, host: Path) -> None:
    with WebServer() as web:
        web.replies = pages(site, corrupt)
        assert "sha256" in fails(site, host, 3, web.url)


def test_a_corrupt_byte_and_a_good_mirror(site: SmallSite, host: Path) -> None:
    with WebServer() as bad, WebServer() as good:
        bad.replies, good.replies = pages(site, corrupt), pages(site)
        (note,) = succeeds(site, host, bad.url, good.url)["notes"]
        assert bad.url in note
        # The good one goes on where the first wrong layer stands; what came before is not fetched twice.
        (first,) = [request for request in good.requests if is_tarball(request.path)][:1]
        assert int(first.headers["Range"].removeprefix("bytes=").partition("-")[0]) > 0


@pytest.mark.parametrize("wrong", [7, pytest.param(-7, marks=slow)])
def test_a_wrong_length(site: SmallSite, host: Path, wrong: int) -> None:
    def fault(name: str, body: bytes) -> Page | None:
        whole = ranged(body)

        def page(request: Request) -> Reply:
            reply = whole(request)
            reply.headers["Content-Length"] = str(len(reply.body) + wrong)
            return reply

        return page if is_tarball(name) else None

    with WebServer() as web:
        web.replies = pages(site, fault)
        assert "range" in fails(site, host, 7, web.url)


@pytest.mark.parametrize("status", [503, pytest.param(500, marks=slow), pytest.param(429, marks=slow)])
def test_trouble_that_stays(site: SmallSite, host: Path, status: int) -> None:
    with WebServer() as web:
        web.replies = pages(
            site, lambda name, _: (lambda _: Reply(status=status)) if is_tarball(name) else None
        )
        assert str(status) in fails(site, host, 7, web.url)


def test_too_many_requests_are_waited_for(site: SmallSite, host: Path) -> None:
    first = True

    def fault(name: str, body: bytes) -> Page | None:
        whole = ranged(body)

        def page(request: Request) -> Reply:
            nonlocal first
            if first:
                first = False
                return Reply(status=429, headers={"Retry-After": "2"})
            return whole(request)

        return page if is_tarball(name) else None

    with WebServer() as web:
        web.replies = pages(site, fault)
        started = time.monotonic()
        succeeds(site, host, web.url)
        assert time.monotonic() - started > 2


@pytest.mark.parametrize("place", ["head", pytest.param("body", marks=slow)])
def test_slow_drip(site: SmallSite, host: Path, place: str) -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"
        if place == "body":
            connection.sendall(head + b"\r\n")
        for byte in head:
            connection.sendall(bytes([byte]))
            time.sleep(0.2)

    with raw_server(drip) as url:
        assert "too slow" in fails(site, host, 7, url)


def test_redirects_without_an_end(site: SmallSite, host: Path) -> None:
    with WebServer() as web:
        web.replies = pages(
            site,
            lambda name, _: (
                (lambda request: Reply(status=302, headers={"Location": request.path}))
                if is_tarball(name)
                else None
            ),
        )
        assert "more than 3 redirects" in fails(site, host, 7, web.url)


@slow
def test_half_of_all_answers_fail(site: SmallSite, host: Path) -> None:
    """As ostree's test-pull-repeated: errors at random, and runs that go on until one is through."""
    import random

    chance = random.Random(5)

    def fault(_: str, body: bytes) -> Page:
        whole = ranged(body, headers={"ETag": f'"{hash(body)}"'})

        def page(request: Request) -> Reply:
            kind = chance.randrange(6)
            if kind == 0:
                return Reply(status=503)
            if kind == 1:
                return Reply(body=body, cut=0)
            if kind == 2:
                reply = whole(request)
                reply.cut = len(reply.body) // 2
                return reply
            return whole(request)

        return page

    with WebServer() as web:
        web.replies = pages(site, fault)
        before = snapshot(host, times=True)
        for _ in range(10):
            done = upgrade(site, host, web.url)
            if done.returncode == 0:
                break
            assert done.returncode == 7, done.stderr
            assert snapshot(host, times=True) == before
            assert litter(host.parent) == []
        assert done.returncode == 0
    assert run([str(host / "bin/demo-manage")]).stdout == "demo 2.0.0\n"


def test_a_server_that_dies_while_it_sends(site: SmallSite, host: Path) -> None:
    (tarball,) = (site.store / "artifacts/demo").glob("demo-2.0.0-*.tar.zst")
    data = tarball.read_bytes()
    with WebServer() as web:
        web.replies = pages(site)

        def fault(connection: socket.socket, head: bytes) -> None:
            path = head.split()[1].decode()
            if is_tarball(path):
                length = len(data)
                connection.sendall(b"HTTP/1.1 206 Partial Content\r\n")
                connection.sendall(b"Content-Range: bytes 0-%d/%d\r\n" % (length - 1, length))
                connection.sendall(b"Content-Length: %d\r\n\r\n" % length + data[: length // 3])
                reset(connection)
                return
            page = web.replies.get(path)
            reply = page(Request(path=path, headers={})) if page else Reply(status=404)
            connection.sendall(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n" % (reply.status, len(reply.body)))
            connection.sendall(b"Connection: close\r\n\r\n" + reply.body)

        with raw_server(fault) as url:
            fails(site, host, 7, url)
        cache = host.parent.parent / "state/cache"
        shutil.rmtree(cache)
        succeeds(site, host, web.url)
