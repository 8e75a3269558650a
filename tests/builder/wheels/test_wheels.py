from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from builder.wheels.cache import CachedWheel, WheelCache
from builder.wheels.download import Downloads
from builder.wheels.gathering import ResolvedWheel, resolve_wheels
from builder.wheels.sources import DirectorySource, WheelSource, open_source
from manifests.errors import HostUnsuitable, NotFound, StoreUnavailable, VenvoyError, VerificationFailed
from manifests.lock import LockedFile, LockedPackage
from manifests.target import Target
from tests.http_server import Reply, WebServer
from tests.wheel_factory import make_wheel, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TARGET = Target.parse("cp311-linux_x86_64-glibc2.36")
NOWHERE = "http://127.0.0.1:9/nothing"


@pytest.fixture
def cache(tmp_path: Path) -> WheelCache:
    return WheelCache(tmp_path / "cache")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.wheels.download._BACKOFF_SECONDS", 0.0)


def locked(path: Path, url: str = NOWHERE) -> LockedPackage:
    name, version = path.name.split("-")[:2]
    size = path.stat().st_size
    file = LockedFile(name=path.name, url=url, size=size, sha256=sha256(path))  # type: ignore[arg-type]
    return LockedPackage(name=name, version=version, wheels=(file,))


def sdist_only(name: str, version: str | None = "1.0") -> LockedPackage:
    file = LockedFile(name=f"{name}-1.0.tar.gz", url=NOWHERE, size=None, sha256="ab" * 32)  # type: ignore[arg-type]
    return LockedPackage(name=name, version=version, sdist=file)


class FakeBuilder:
    """Builds by making a wheel of the package's name; remembers what it was asked."""

    def __init__(self, cache: WheelCache, folder: Path, tag: str = "py3-none-any") -> None:
        self.cache = cache
        self.folder = folder
        self.tag = tag
        self.asked: list[str] = []
        self.stopped = threading.Event()
        self._built: dict[str, CachedWheel] = {}

    def cached(self, package: LockedPackage) -> CachedWheel | None:
        return self._built.get(package.name)

    def build(self, package: LockedPackage, sources: Sequence[WheelSource]) -> CachedWheel:
        self.asked.append(package.name)
        if package.name == "broken":
            raise HostUnsuitable("building broken failed")
        if package.name == "bug":
            raise ZeroDivisionError
        if package.name == "slow":
            self.stopped.wait(10)
            raise VenvoyError("stopped")
        path = make_wheel(self.folder, package.name, package.version or "7.0", tag=self.tag)
        wheel = self.cache.add(path, name=path.name, sha256=None, origin="the build")
        self._built[package.name] = wheel
        return wheel

    def stop(self) -> None:
        self.stopped.set()


def resolve(packages: list[LockedPackage], cache: WheelCache, *sources: WheelSource, **options: object) -> list[ResolvedWheel]:  # fmt: skip # noqa: E501
    return resolve_wheels(packages, TARGET, sources, cache, **options)  # type: ignore[arg-type]


def test_wheels_come_from_a_folder_and_then_from_the_cache(tmp_path: Path, cache: WheelCache) -> None:
    paths = [make_wheel(tmp_path / "in", f"demo{index}", "1.0") for index in range(5)]
    packages = [locked(path) for path in paths]
    source = DirectorySource(tmp_path / "in")
    reports: list[tuple[int, int, str]] = []
    found = resolve(packages, cache, source, offline=True, progress=lambda *report: reports.append(report))
    assert [wheel.filename for wheel in found] == [path.name for path in paths]
    assert {(wheel.origin, wheel.pinned) for wheel in found} == {(str(tmp_path / "in"), True)}
    assert [wheel.path.read_bytes() for wheel in found] == [path.read_bytes() for path in paths]
    assert [report[:2] for report in reports] == [(number, 5) for number in range(1, 6)]
    assert {report[2] for report in reports} == {path.name for path in paths}
    again = resolve(packages, cache, offline=True)
    assert {wheel.origin for wheel in again} == {"cache"}
    assert [wheel.path for wheel in again] == [wheel.path for wheel in found]


def test_sources_are_asked_in_order_and_then_the_lock(
    tmp_path: Path, cache: WheelCache, web: WebServer
) -> None:
    paths = {name: make_wheel(tmp_path / name, name, "1.0") for name in ("first", "second", "third", "last")}
    for path in paths.values():
        web.replies[f"/files/{path.name}"] = Reply(body=path.read_bytes())
    web.replies["/links"] = Reply(body=f'<a href="/files/{paths["third"].name}">x</a>'.encode())
    packages = [locked(path, f"{web.url}/files/{path.name}?token=secret") for path in paths.values()]
    with Downloads(backoff=0) as downloads:
        sources = [open_source(str(tmp_path / "first")), open_source(str(tmp_path / "second"))]
        sources.append(open_source(f"{web.url}/links", downloads))
        found = resolve(packages, cache, *sources)
    assert [wheel.origin for wheel in found] == [*(source.label for source in sources), "the lock's URLs"]
    assert sorted(web.paths()) == ["/files/last-1.0-py3-none-any.whl?token=secret", "/files/third-1.0-py3-none-any.whl", "/links"]  # fmt: skip # noqa: E501


def test_offline_asks_no_network_and_says_where_it_looked(
    tmp_path: Path, cache: WheelCache, web: WebServer
) -> None:
    path = make_wheel(tmp_path / "elsewhere", "demo", "1.0")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    sources = [
        open_source(str(tmp_path / "a")),
        open_source(f"{web.url}/links"),
        open_source(str(tmp_path / "b")),
    ]
    with pytest.raises(NotFound) as caught:
        resolve([locked(path, f"{web.url}/x")], cache, *sources, offline=True)
    assert (
        str(caught.value) == f"{path.name} cannot be had: offline; not in {tmp_path / 'a'}, {tmp_path / 'b'}"
    )
    assert web.requests == []


def test_all_missing_wheels_are_listed_at_once(tmp_path: Path, cache: WheelCache) -> None:
    paths = [make_wheel(tmp_path / "elsewhere", f"demo{index}", "1.0") for index in range(3)]
    with pytest.raises(NotFound) as caught:
        resolve([*map(locked, paths), sdist_only("lost")], cache, offline=True)
    assert str(caught.value).splitlines() == [
        "4 of 4 wheels cannot be used:",
        *(f"  demo{index}-1.0-py3-none-any.whl cannot be had: offline" for index in range(3)),
        "  a wheel of lost 1.0 cannot be had: offline; building from source is switched off",
    ]


def test_wrong_bytes_under_a_locked_name_are_refused_wherever_they_lie(
    tmp_path: Path, cache: WheelCache
) -> None:
    right = make_wheel(tmp_path / "right", "demo", "1.0", {"demo.py": b"right\n"})
    wrong = make_wheel(tmp_path / "wrong", "demo", "1.0", {"demo.py": b"wrong\n"})
    with pytest.raises(VerificationFailed) as caught:
        resolve(
            [locked(right)], cache, open_source(str(tmp_path / "wrong")), open_source(str(tmp_path / "right"))
        )
    for part in (right.name, str(wrong), sha256(wrong), sha256(right), "remove the wrong file"):
        assert part in str(caught.value)


def test_the_gravest_problem_names_the_error(tmp_path: Path, cache: WheelCache) -> None:
    right = make_wheel(tmp_path / "right", "demo", "1.0", {"demo.py": b"right\n"})
    make_wheel(tmp_path / "wrong", "demo", "1.0", {"demo.py": b"wrong\n"})
    lost = make_wheel(tmp_path / "elsewhere", "lost", "1.0")
    with pytest.raises(VerificationFailed, match="lost-1"):
        resolve([locked(right), locked(lost)], cache, open_source(str(tmp_path / "wrong")), offline=True)


def test_an_unreachable_source_is_passed_over_for_pinned_wheels(
    tmp_path: Path, cache: WheelCache, web: WebServer
) -> None:
    path = make_wheel(tmp_path / "in", "demo", "1.0")
    web.replies["/links"] = Reply(status=503)
    with Downloads(backoff=0) as downloads:
        dead = open_source(f"{web.url}/links", downloads)
        found = resolve([locked(path)], cache, dead, open_source(str(tmp_path / "in")))
        assert found[0].origin == str(tmp_path / "in")
        with pytest.raises(StoreUnavailable, match=r"unreachable: .*503"):
            resolve([locked(make_wheel(tmp_path, "other", "1.0"), f"{web.url}/gone")], cache, dead)


def test_an_unreachable_source_ends_the_search_for_what_the_lock_does_not_pin(
    tmp_path: Path, cache: WheelCache, web: WebServer
) -> None:
    make_wheel(tmp_path / "in", "demo", "1.0")
    web.replies["/links"] = Reply(status=503)
    with Downloads(backoff=0) as downloads:
        dead = open_source(f"{web.url}/links", downloads)
        with pytest.raises(StoreUnavailable, match="503"):
            resolve([sdist_only("demo")], cache, dead, open_source(str(tmp_path / "in")))


def test_a_wheel_that_does_not_fit_names_wheel_and_target(tmp_path: Path, cache: WheelCache) -> None:
    paths = [make_wheel(tmp_path, "demo", "1.0", tag=tag) for tag in ("cp312-cp312-manylinux_2_17_x86_64",)]
    with pytest.raises(
        HostUnsuitable, match=r"demo-1\.0-cp312-.*\.whl does not fit cp311-linux_x86_64-glibc2\.36"
    ):
        resolve([locked(path) for path in paths], cache, DirectorySource(tmp_path))


def test_a_wheel_of_a_source_stands_for_an_sdist_and_is_not_pinned(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path / "in", "demo", "1.0", tag="cp311-cp311-linux_x86_64")
    builder = FakeBuilder(cache, tmp_path / "built")
    for _ in range(2):
        (wheel,) = resolve(
            [sdist_only("demo")], cache, DirectorySource(tmp_path / "in"), sdist_builder=builder
        )
        assert (wheel.filename, wheel.sha256, wheel.pinned) == (path.name, sha256(path), False)
        assert wheel.origin == str(tmp_path / "in")
    assert builder.asked == []


def test_an_sdist_is_built_once(tmp_path: Path, cache: WheelCache) -> None:
    builder = FakeBuilder(cache, tmp_path / "built")
    (wheel,) = resolve([sdist_only("demo")], cache, offline=True, sdist_builder=builder)
    assert (wheel.origin, wheel.pinned, wheel.version) == ("built", False, "1.0")
    (wheel,) = resolve([sdist_only("demo")], cache, offline=True, sdist_builder=builder)
    assert (wheel.origin, wheel.pinned) == ("cache", False)
    assert builder.asked == ["demo"]


def test_a_version_unknown_to_the_lock_comes_from_the_built_wheel(tmp_path: Path, cache: WheelCache) -> None:
    builder = FakeBuilder(cache, tmp_path / "built")
    (wheel,) = resolve([sdist_only("demo", None)], cache, offline=True, sdist_builder=builder)
    assert wheel.version == "7.0"


def test_a_built_wheel_must_fit_the_target(tmp_path: Path, cache: WheelCache) -> None:
    builder = FakeBuilder(cache, tmp_path / "built", tag="cp311-cp311-linux_riscv64")
    with pytest.raises(HostUnsuitable, match=r"riscv64\.whl does not fit"):
        resolve([sdist_only("demo")], cache, offline=True, sdist_builder=builder)


def test_failed_builds_are_listed_with_the_rest(tmp_path: Path, cache: WheelCache) -> None:
    builder = FakeBuilder(cache, tmp_path / "built")
    lost = make_wheel(tmp_path / "elsewhere", "lost", "1.0")
    packages = [sdist_only("broken"), sdist_only("good"), locked(lost)]
    with pytest.raises(HostUnsuitable) as caught:
        resolve(packages, cache, offline=True, sdist_builder=builder)
    assert str(caught.value).splitlines() == [
        "2 of 3 wheels cannot be used:",
        "  building broken failed",
        f"  {lost.name} cannot be had: offline",
    ]
    assert sorted(builder.asked) == ["broken", "good"]


def test_an_error_of_the_program_stops_the_other_builds_and_is_not_hidden(
    tmp_path: Path, cache: WheelCache
) -> None:
    builder = FakeBuilder(cache, tmp_path / "built")
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        resolve([sdist_only("slow"), sdist_only("bug")], cache, offline=True, sdist_builder=builder)
    assert builder.stopped.is_set()
    assert time.monotonic() - start < 5


def test_a_cached_wheel_that_lost_bytes_is_fetched_again(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path / "in", "demo", "1.0")
    (wheel,) = resolve([locked(path)], cache, DirectorySource(tmp_path / "in"))
    wheel.path.write_bytes(wheel.path.read_bytes()[:-10])
    (again,) = resolve([locked(path)], cache, DirectorySource(tmp_path / "in"))
    assert again.origin == str(tmp_path / "in")
    assert again.path.read_bytes() == path.read_bytes()


def test_a_full_cache_answers_at_once(tmp_path: Path, cache: WheelCache) -> None:
    tags = (
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp39-abi3-manylinux_2_28_x86_64",
    )
    paths = [make_wheel(tmp_path / "in", f"demo{index}", "1.0", tag=tags[index % 3]) for index in range(136)]
    packages = [locked(path) for path in paths]
    resolve(packages, cache, DirectorySource(tmp_path / "in"))
    spent = []
    for _ in range(5):
        start = time.process_time()
        resolve(packages, cache)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.015
