"""Mirrors over real sockets: stale, dead, lying, slow, incomplete; and a rate that all processes share."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributor.stores import server as store_server
from distributor.stores.directory import DirectoryStore
from distributor.stores.http.options import HttpOptions
from distributor.stores.http.store import HttpStore
from distributor.stores.location import open_mirrors
from distributor.stores.mirrors import MirroredStore, TrustedMirrors, first_good, refresh_any
from distributor.stores.rate_limit import RateLimit, RateLimited
from distributor.stores.server import StoreServer
from distributor.trust.trust import Trust
from manifests.documents import sha256_bytes
from manifests.errors import (
    InvalidInput,
    Locked,
    MetadataExpired,
    NotFound,
    StoreUnavailable,
    VerificationFailed,
)
from tests.distributor.artifacts import Site, build_artifact
from tests.http_server import raw_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.stores.interface import ReadStore

NOW = datetime.now(timezone.utc)
FAST = HttpOptions(timeout_seconds=0.3, total_seconds=5, retries=1, backoff_seconds=0.01)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], HttpStore]]:
    """Give a function that serves a directory and returns the store over HTTP."""
    monkeypatch.setattr(store_server, "_TICK_SECONDS", 0.01)
    running: list[tuple[StoreServer, threading.Thread]] = []

    def start(root: Path) -> HttpStore:
        server = StoreServer(root, ("127.0.0.1", 0), log=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        running.append((server, thread))
        return HttpStore(server.url, FAST)

    yield start
    for server, thread in running:
        server.stop()
        thread.join()


@pytest.fixture
def dead() -> HttpStore:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return HttpStore(f"http://127.0.0.1:{gone.getsockname()[1]}", FAST)


@pytest.fixture
def slow() -> Iterator[HttpStore]:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.02)

    with raw_server(answer) as url:
        yield HttpStore(url, FAST)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "site")
    built = build_artifact(site.build)
    site.publish(built)
    site.pin("1", built)
    return site


class Mirrors:
    """A mirrored store, and what it reported."""

    def __init__(self, *stores: ReadStore) -> None:
        self.reports: list[tuple[str, str]] = []
        self.store = MirroredStore(stores, lambda location, why: self.reports.append((location, why)))


def copy_of(site: Site, name: str) -> Path:
    target = site.directory.parent / name
    shutil.copytree(site.directory / "store", target)
    return target


def maker(site: Site, host: str = "host", now: datetime | None = None) -> Callable[[ReadStore], Trust]:
    return lambda store: Trust(store, site.directory.parent / host, site.root, now=now)


def test_the_first_good_mirror_answers(site: Site, serve: Callable[[Path], HttpStore]) -> None:
    first, second = serve(copy_of(site, "a")), serve(copy_of(site, "b"))
    mirrors = Mirrors(first, second)
    assert mirrors.store.location == first.location
    assert refresh_any(mirrors.store, maker(site)).releases() == ["1"]
    assert mirrors.store.passed_over == []


@pytest.mark.parametrize("fault", ["dead", "slow"])
def test_a_mirror_that_is_down_or_slow_is_passed_over_once(
    site: Site, serve: Callable[[Path], HttpStore], request: pytest.FixtureRequest, fault: str
) -> None:
    broken: HttpStore = request.getfixturevalue(fault)
    mirrors = Mirrors(broken, serve(copy_of(site, "b")))
    assert refresh_any(mirrors.store, maker(site)).releases() == ["1"]
    started = time.monotonic()
    for _ in range(20):
        assert mirrors.store.read("metadata/timestamp.json", limit=100_000)
    assert time.monotonic() - started < 1  # it is not asked again
    ((location, why),) = mirrors.reports
    assert location == broken.location
    assert ("Connection refused" if fault == "dead" else "too slow") in why
    assert mirrors.store.passed_over == mirrors.reports


def test_a_stale_mirror_does_not_roll_a_host_back(site: Site, serve: Callable[[Path], HttpStore]) -> None:
    stale, fresh = serve(copy_of(site, "stale")), serve(site.directory / "store")
    site.publish(build_artifact(site.build, "nova"))
    # What was seen of one mirror counts for all: the state goes by the first one's location.
    refresh_any(Mirrors(fresh).store, maker(site))
    mirrors = Mirrors(fresh, stale)
    refresh_any(mirrors.store, maker(site))
    assert mirrors.reports == []
    behind = MirroredStore([_Named(stale, fresh.location), fresh], lambda *_: None)
    trust = refresh_any(behind, maker(site))
    assert len(trust.entries("artifacts")) == 2
    ((_, why),) = behind.passed_over
    assert "older state than was seen before (rollback)" in why


class _Named:
    """A store under another location: a site whose first mirror became stale."""

    def __init__(self, store: ReadStore, location: str) -> None:
        self.location = location
        self.read, self.stream = store.read, store.stream


def test_a_frozen_mirror_is_passed_over(tmp_path: Path, serve: Callable[[Path], HttpStore]) -> None:
    site = Site(tmp_path / "site", now=NOW - timedelta(days=40))
    frozen = serve(copy_of(site, "frozen"))
    site.repository().renew()
    mirrors = Mirrors(frozen, serve(site.directory / "store"))
    assert refresh_any(mirrors.store, maker(site)).releases() == []
    ((location, why),) = mirrors.reports
    assert location == frozen.location
    assert "timestamp.json is expired" in why
    with pytest.raises(MetadataExpired, match=r"timestamp\.json is expired"):
        refresh_any(Mirrors(frozen, DirectoryStore(tmp_path / "frozen")).store, maker(site, "other"))


def test_an_incomplete_mirror_is_asked_last(site: Site, serve: Callable[[Path], HttpStore]) -> None:
    part = copy_of(site, "part")
    (part / "metadata" / "timestamp.json").unlink()
    (part / "only-here").write_bytes(b"rest")
    partial, whole = serve(part), serve(copy_of(site, "whole"))
    mirrors = Mirrors(partial, whole)
    refresh_any(mirrors.store, maker(site))
    ((location, why),) = mirrors.reports
    assert location == partial.location
    assert "timestamp.json is not in the store" in why
    assert [source.name for source in mirrors.store.sources()] == [whole.location, partial.location]
    with pytest.raises(NotFound):
        mirrors.store.read("nowhere", limit=10)
    assert len(mirrors.reports) == 1
    assert mirrors.store.read("only-here", limit=10) == b"rest"
    with pytest.raises(NotFound, match=r"none of 2 mirrors helped:\n  http.*: nowhere is not in the store"):
        mirrors.store.read("nowhere", limit=10)
    assert len(mirrors.reports) == 2  # what none has is no mirror's fault


def test_a_lying_mirror_is_found_by_who_verifies(tmp_path: Path, serve: Callable[[Path], HttpStore]) -> None:
    data = os.urandom(200_000)
    lie = bytes([data[0] ^ 1]) + data[1:]
    for name, content in (("liar", lie), ("honest", data)):
        DirectoryStore(tmp_path / name).write_if_absent("artifacts/x", content)
    liar, honest = serve(tmp_path / "liar"), serve(tmp_path / "honest")
    mirrors = Mirrors(liar, honest)

    def verified(source: ReadStore) -> bytes:
        got = b"".join(source.stream("artifacts/x", offset=0, length=len(data)))
        if sha256_bytes(got) != sha256_bytes(data):
            raise VerificationFailed("other bytes than signed")
        return got

    for _ in range(3):
        assert first_good(mirrors.store, verified) == data
    assert mirrors.reports == [(liar.location, "other bytes than signed")]
    assert b"".join(mirrors.store.stream("artifacts/x", offset=5, length=10)) == data[5:15]
    assert first_good(honest, verified) == data  # a single store works alike
    with pytest.raises(VerificationFailed, match="other bytes than signed"):
        first_good(liar, verified)


def test_lying_metadata_leads_to_the_next_mirror(site: Site, serve: Callable[[Path], HttpStore]) -> None:
    altered = copy_of(site, "altered")
    timestamp = altered / "metadata" / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version":', b'"version": 9'))
    mirrors = Mirrors(serve(altered), serve(copy_of(site, "good")))
    assert refresh_any(mirrors.store, maker(site)).releases() == ["1"]
    ((_, why),) = mirrors.reports
    assert "too few valid signatures" in why or "altered" in why


def test_pins_and_manifests_come_from_the_next_mirror_too(
    site: Site, serve: Callable[[Path], HttpStore]
) -> None:
    hollow = copy_of(site, "hollow")
    for name in ("pins", "artifacts"):
        shutil.rmtree(hollow / name)
    mirrors = Mirrors(serve(hollow), serve(copy_of(site, "whole")))
    trusted = TrustedMirrors(mirrors.store, maker(site))
    assert trusted.ask(lambda trust: trust.releases()) == ["1"]
    pin = trusted.ask(lambda trust: trust.pins("1")).pins[0]
    assert trusted.ask(lambda trust: trust.manifest(pin)).service == "keystone"
    assert len(mirrors.reports) == 1
    with pytest.raises(NotFound, match="release 2 is not signed"):
        trusted.ask(lambda trust: trust.pins("2"))


def test_a_single_store_is_asked_once(site: Site) -> None:
    asked: list[str] = []

    def question(trust: Trust) -> None:
        asked.append("")
        raise NotFound("none")

    trusted = TrustedMirrors(site.store, maker(site))
    for _ in range(2):
        with pytest.raises(NotFound, match=r"^none$"):
            trusted.ask(question)
    assert len(asked) == 2


def test_when_all_fail_every_mirror_has_a_line(
    dead: HttpStore, tmp_path: Path, serve: Callable[[Path], HttpStore]
) -> None:
    empty = serve(tmp_path)
    mirrors = Mirrors(dead, empty)
    with pytest.raises(StoreUnavailable) as caught:
        mirrors.store.read("a", limit=1)
    first, *lines = str(caught.value).splitlines()
    assert first == "none of 2 mirrors helped:"
    assert [line.split(": ")[0].strip() for line in lines] == [dead.location, empty.location]
    alone = Mirrors(dead)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            alone.store.read("a", limit=1)


def test_what_is_no_mirrors_fault_passes_at_once(site: Site) -> None:
    mirrors = Mirrors(site.store, DirectoryStore(site.directory))

    def locked(source: ReadStore) -> None:
        raise Locked("trusted metadata is in use")

    with pytest.raises(Locked):
        first_good(mirrors.store, locked)
    assert mirrors.reports == []


def test_a_stream_goes_on_with_the_next_mirror(tmp_path: Path, serve: Callable[[Path], HttpStore]) -> None:
    data = os.urandom(100_000)
    DirectoryStore(tmp_path / "short").write_if_absent("a", data[:40_000])
    DirectoryStore(tmp_path / "whole").write_if_absent("a", data)
    short = DirectoryStore(tmp_path / "short")
    mirrors = Mirrors(short, serve(tmp_path / "whole"))
    assert b"".join(mirrors.store.stream("a", offset=0, length=len(data))) == data
    assert [location for location, _ in mirrors.reports] == [short.location]


def test_what_a_forked_process_learns_of_a_mirror_all_know(dead: HttpStore, tmp_path: Path) -> None:
    DirectoryStore(tmp_path).write_if_absent("a", b"x")
    mirrors = Mirrors(dead, DirectoryStore(tmp_path))
    child = os.fork()
    if child == 0:
        os._exit(0 if mirrors.store.read("a", limit=1) == b"x" and len(mirrors.reports) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [source.name for source in mirrors.store.sources()] == [f"file://{tmp_path}"]
    ((location, why),) = mirrors.store.passed_over
    assert location == dead.location
    assert "Connection refused" in why
    mirrors.store.read("a", limit=1)
    assert mirrors.reports == []


def test_mirrors_by_their_locations(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert isinstance(open_mirrors([one]), DirectoryStore)
    assert isinstance(open_mirrors([one, f"file://{one}"]), DirectoryStore)
    both = open_mirrors([one, two])
    assert isinstance(both, MirroredStore)
    assert both.location == f"file://{one}"
    assert isinstance(open_mirrors([one], limit=RateLimit(1000)), RateLimited)
    with pytest.raises(InvalidInput, match="no store is named"):
        open_mirrors([])


def test_a_rate_holds_for_all_processes_together(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    DirectoryStore(tmp_path).write_if_absent("a", data)
    limited = RateLimited(DirectoryStore(tmp_path), RateLimit(8_000_000))
    started = time.monotonic()
    children = []
    for part in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            got = b"".join(limited.stream("a", offset=part * 1_500_000, length=1_500_000))
            os._exit(0 if got == data[part * 1_500_000 :][:1_500_000] else 1)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    both = time.monotonic() - started
    # 3 MB at 8 MB/s, less a burst of a quarter of a second.
    assert 0.12 <= both < 1.5
    started = time.monotonic()
    assert len(limited.read("a", limit=len(data))) == len(data)
    threads = [
        threading.Thread(target=limited.read, args=("a",), kwargs={"limit": len(data)}) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.85
