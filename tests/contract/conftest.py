"""The backends that every contract test runs over. A new one joins by one row in BACKENDS."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from distributor.stores.directory import DirectoryStore
from distributor.stores.http.store import HttpStore
from distributor.stores.location import open_mirrors, open_writable_store
from distributor.stores.rate_limit import RateLimit
from distributor.stores.server import StoreServer
from tests import swift_server as swift
from tests.s3_server import fixed_credentials, new_bucket, s3_server, set_credentials, store_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributor.stores.interface import ReadStore, Store
    from distributor.stores.s3.options import S3Options


def directory(_: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: DirectoryStore(tmp_path / "store")


def file_url(_: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: open_writable_store(f"file://{tmp_path}/store")


def s3(request: pytest.FixtureRequest, _: Path) -> Callable[[], Store]:
    return _below_new_prefix(request.getfixturevalue("s3_bucket"))


def s3_without_conditions(request: pytest.FixtureRequest, _: Path) -> Callable[[], Store]:
    return _below_new_prefix(request.getfixturevalue("s3_bucket_without_conditions"))


def swift_s3api(request: pytest.FixtureRequest, _: Path) -> Callable[[], Store]:
    options = request.getfixturevalue("swift_bucket")
    set_credentials(request.getfixturevalue("monkeypatch"), swift.CREDENTIALS)
    return _below_new_prefix(options)


class Split:
    """Writes to one store, and reads by another way what lies there: the contract holds for both."""

    def __init__(self, written: Store, read: ReadStore) -> None:
        self._written = written
        self._read = read
        self.location = written.location

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read if name in ("read", "stream") else self._written, name)


def http(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    url = request.getfixturevalue("served")
    return lambda: cast("Store", Split(DirectoryStore(tmp_path / "store"), HttpStore(url)))


def mirrors(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """A mirror that has nothing, and a good one; as ``install --store A --store B --limit-rate`` reads."""
    url = request.getfixturevalue("served")

    def make() -> Store:
        reading = open_mirrors([f"file://{tmp_path}/empty", url], limit=RateLimit(1_000_000_000))
        return cast("Store", Split(DirectoryStore(tmp_path / "store"), reading))

    return make


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "store").mkdir()
    (tmp_path / "empty").mkdir()
    server = StoreServer(tmp_path / "store", ("127.0.0.1", 0), log=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.url.rstrip("/")
    server.stop()
    thread.join()


# Each makes, for one test, a function that opens the test's store, in another process too.
BACKENDS = [
    directory,
    file_url,
    s3,
    s3_without_conditions,
    http,
    mirrors,
    pytest.param(swift_s3api, marks=pytest.mark.slow),
]


def _below_new_prefix(options: S3Options) -> Callable[[], Store]:
    options = replace(options, prefix=f"team/{secrets.token_hex(4)}/")
    return lambda: store_at(options)


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[S3Options]:
    with s3_server() as url:
        with fixed_credentials():
            options = new_bucket(url)
        yield options


@pytest.fixture(scope="session")
def s3_bucket_without_conditions() -> Iterator[S3Options]:
    with s3_server("--ignore-conditions") as url:
        with fixed_credentials():
            options = new_bucket(url)
        yield options


@pytest.fixture(scope="session")
def swift_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Options]:
    try:
        with swift.swift_server(tmp_path_factory.mktemp("swift")) as url:
            with fixed_credentials(swift.CREDENTIALS):
                options = new_bucket(url)
            yield options
    except swift.SwiftUnavailable as error:
        pytest.skip(f"Swift cannot run here: {error}")


@pytest.fixture(autouse=True)
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__.replace("_", "-"))
def make_store(request: pytest.FixtureRequest, tmp_path: Path, s3_credentials: None) -> Callable[[], Store]:
    return request.param(request, tmp_path)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often racing processes meet: a request takes a server of S3 longer than a disk."""
    return 15 if request.node.callspec.id in ("directory", "file-url", "http", "mirrors") else 4


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    return make_store()
