"""What every store promises, run over every backend. The backends are in conftest.py."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from distributor.stores.directory import DirectoryStore
from distributor.stores.interface import CHUNK_SIZE, Digest
from distributor.stores.location import open_store, open_writable_store
from manifests.documents import sha256_bytes
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributor.stores.interface import Store

PROCESSES = multiprocessing.get_context("fork")


def run_all(processes: list) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_what_was_written_is_read(store: Store) -> None:
    data = os.urandom(3 * CHUNK_SIZE + 17)
    assert store.write_if_absent("artifacts/nova/a.tar.zst", data)
    assert store.read("artifacts/nova/a.tar.zst", limit=len(data)) == data
    assert store.size("artifacts/nova/a.tar.zst") == len(data)


def test_a_file_is_written_as_bytes_are(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    assert store.write_if_absent("a/b", source)
    assert store.read("a/b", limit=100) == b"from a file"


def test_an_existing_object_is_never_replaced(store: Store) -> None:
    assert store.write_if_absent("a/b", b"first")
    assert not store.write_if_absent("a/b", b"second")
    assert store.read("a/b", limit=100) == b"first"


def test_empty_objects_exist(store: Store) -> None:
    assert store.write_if_absent("a", b"")
    assert store.read("a", limit=0) == b""
    assert store.size("a") == 0
    assert list(store.stream("a", offset=0, length=0)) == []


def test_missing_objects_are_not_found(store: Store) -> None:
    store.write_if_absent("a/b", b"x")
    assert store.size("a/c") is None
    assert store.read_versioned("a/c", limit=10) is None
    with pytest.raises(NotFound, match="a/c is not in the store"):
        store.read("a/c", limit=10)
    with pytest.raises(NotFound):
        list(store.stream("x/y/z", offset=0, length=1))


def test_endless_data_is_refused_at_the_limit(store: Store) -> None:
    store.write_if_absent("a", b"x" * 101)
    with pytest.raises(VerificationFailed, match="larger than the 100 bytes"):
        store.read("a", limit=100)
    with pytest.raises(VerificationFailed):
        store.read_versioned("a", limit=100)


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (3, 4), (9, 1), (10, 0)])
def test_a_stream_is_exactly_the_range(store: Store, offset: int, length: int) -> None:
    store.write_if_absent("a", b"0123456789")
    assert (
        b"".join(store.stream("a", offset=offset, length=length)) == b"0123456789"[offset : offset + length]
    )


def test_a_stream_comes_in_bounded_chunks(store: Store) -> None:
    data = os.urandom(2 * CHUNK_SIZE + 5)
    store.write_if_absent("a", data)
    chunks = list(store.stream("a", offset=1, length=len(data) - 1))
    assert b"".join(chunks) == data[1:]
    assert max(map(len, chunks)) <= CHUNK_SIZE


def test_a_truncated_object_does_not_pass_for_whole(store: Store) -> None:
    store.write_if_absent("a", b"0123")
    with pytest.raises(StoreUnavailable, match="ends at byte 4, expected 5"):
        list(store.stream("a", offset=0, length=5))


@pytest.mark.parametrize("data", [b"other", b"expected and more", b""])
def test_unexpected_bytes_leave_nothing_visible(store: Store, data: bytes) -> None:
    expect = Digest(8, sha256_bytes(b"expected"))
    with pytest.raises(VerificationFailed):
        store.write_if_absent("a/b", data, expect=expect)
    assert store.size("a/b") is None
    assert list(store.list("")) == []
    assert store.write_if_absent("a/b", b"expected", expect=expect)


def test_a_missing_source_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no-such-file does not exist"):
        store.write_if_absent("a", tmp_path / "no-such-file")
    assert store.size("a") is None


@pytest.mark.parametrize(
    "path", ["", "/a", "a/../b", "../a", "a//b", "a/", "./a", "a\nb", ".hidden", "a/.b/c"]
)
def test_unsafe_paths_are_refused_everywhere(store: Store, path: str) -> None:
    for attempt in (
        lambda: store.read(path, limit=1),
        lambda: list(store.stream(path, offset=0, length=1)),
        lambda: store.write_if_absent(path, b""),
        lambda: store.size(path),
        lambda: store.read_versioned(path, limit=1),
        lambda: store.replace_if_unchanged(path, b"", None),
        lambda: store.delete(path),
    ):
        with pytest.raises(InvalidInput):
            attempt()


def test_compare_and_swap(store: Store) -> None:
    assert not store.replace_if_unchanged("m/t.json", b"1", "no such version")
    assert store.replace_if_unchanged("m/t.json", b"1", None)
    assert not store.replace_if_unchanged("m/t.json", b"x", None)
    found = store.read_versioned("m/t.json", limit=10)
    assert found is not None
    data, version = found
    assert data == b"1"
    assert store.replace_if_unchanged("m/t.json", b"2", version)
    assert not store.replace_if_unchanged("m/t.json", b"3", version)
    assert store.read("m/t.json", limit=10) == b"2"


def test_list_is_by_prefix_and_sorted(store: Store) -> None:
    assert list(store.list("")) == []
    names = ["a/x", "a/y/z", "a-b/x", "ab", "b/x"]
    for name in names:
        store.write_if_absent(name, b"x")
    assert list(store.list("")) == sorted(names)
    assert list(store.list("a/")) == ["a/x", "a/y/z"]
    assert list(store.list("a/y/z")) == ["a/y/z"]
    assert list(store.list("a")) == sorted(names[:4])
    assert list(store.list("none/")) == []


def test_delete_removes_and_may_be_repeated(store: Store) -> None:
    store.write_if_absent("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert store.size("a/b") is None
    assert store.write_if_absent("a/b", b"y")


def test_of_many_writers_of_one_name_exactly_one_wins(make_store: Callable[[], Store], rounds: int) -> None:
    results = PROCESSES.Queue()
    barrier = PROCESSES.Barrier(6)

    def write(number: int) -> None:
        barrier.wait()
        for name in range(rounds):
            results.put((name, number, make_store().write_if_absent(f"a/{name}", b"%d" % number * 1000)))

    run_all([PROCESSES.Process(target=write, args=(number,)) for number in range(6)])
    outcomes = [results.get(timeout=5) for _ in range(6 * rounds)]
    for name in range(rounds):
        winners = [number for which, number, won in outcomes if which == name and won]
        assert len(winners) == 1
        assert make_store().read(f"a/{name}", limit=10_000) == b"%d" % winners[0] * 1000


def test_racing_compare_and_swap_loses_no_update(make_store: Callable[[], Store], rounds: int) -> None:
    make_store().replace_if_unchanged("counter", b"0", None)

    def count() -> None:
        store = make_store()
        for _ in range(rounds):
            while True:
                found = store.read_versioned("counter", limit=100)
                assert found is not None
                if store.replace_if_unchanged("counter", b"%d" % (int(found[0]) + 1), found[1]):
                    break

    run_all([PROCESSES.Process(target=count) for _ in range(4)])
    assert make_store().read("counter", limit=100) == b"%d" % (4 * rounds)


def test_a_killed_writer_leaves_nothing_visible(make_store: Callable[[], Store], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = PROCESSES.Process(target=lambda: make_store().write_if_absent("a/b", pipe))
    process.start()
    with pipe.open("wb", buffering=0) as feed:
        feed.write(b"half of it")
        time.sleep(0.1)
        assert make_store().size("a/b") is None
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
    assert process.exitcode == -signal.SIGKILL
    assert list(make_store().list("")) == []
    assert make_store().write_if_absent("a/b", b"whole")
    assert list(make_store().list("")) == ["a/b"]


def test_a_reader_never_sees_half_an_object(make_store: Callable[[], Store]) -> None:
    """Writers replace and add while a reader loops; each read is one writer's whole object."""
    make_store().replace_if_unchanged("t", b"0" * 50_000, None)
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        store = make_store()
        while not done.is_set():
            data = store.read("t", limit=100_000)
            assert len(data) == 50_000
            seen.add(bytes(set(data)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        found = make_store().read_versioned("t", limit=100_000)
        assert found is not None
        assert make_store().replace_if_unchanged("t", b"%d" % (number % 10) * 50_000, found[1])
    done.set()
    reader.join()
    assert all(len(distinct) == 1 for distinct in seen)


class TestDirectory:
    """What only a directory must mind: links, modes, leftovers."""

    def test_a_planted_link_leads_nowhere(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        store = DirectoryStore(tmp_path / "store")
        store.write_if_absent("real/object", b"x")
        (tmp_path / "store" / "folder").symlink_to(outside)
        (tmp_path / "store" / "file").symlink_to(outside / "secret")
        for path in ("folder/secret", "file"):
            with pytest.raises(Refused, match="symbolic link"):
                store.read(path, limit=100)
            with pytest.raises(Refused):
                store.write_if_absent(path, b"overwritten")
        with pytest.raises(Refused):
            store.write_if_absent("folder/new", b"x")
        assert (outside / "secret").read_bytes() == b"secret"
        assert sorted(path.name for path in outside.iterdir()) == ["secret"]
        assert list(store.list("")) == ["real/object"]

    def test_a_fifo_does_not_hang_a_reader(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(Refused, match="not a plain file"):
            store.read("pipe", limit=100)

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_modes_do_not_depend_on_the_umask(self, tmp_path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            store = DirectoryStore(tmp_path / "store")
            store.write_if_absent("a/b/c", b"x")
            store.replace_if_unchanged("a/t", b"x", None)
        finally:
            os.umask(before)
        modes = {
            str(path.relative_to(tmp_path)): path.stat().st_mode & 0o7777
            for path in (tmp_path / "store", *(tmp_path / "store").rglob("[!.]*"))
        }
        assert modes == {
            "store": 0o755,
            "store/a": 0o755,
            "store/a/b": 0o755,
            "store/a/b/c": 0o644,
            "store/a/t": 0o644,
        }

    def test_leftovers_are_swept_after_a_day(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        store.write_if_absent("a/b", b"x")
        old, young = tmp_path / "a" / ".tmp-0123", tmp_path / "a" / ".tmp-4567"
        for leftover in (old, young):
            leftover.write_bytes(b"half")
        os.utime(old, (time.time() - 90_000, time.time() - 90_000))
        assert list(store.list("")) == ["a/b"]
        assert store.sweep() == 1
        assert not old.exists()
        assert young.exists()
        assert store.read("a/b", limit=10) == b"x"

    def test_a_full_disk_is_the_stores_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = DirectoryStore(tmp_path)
        store.write_if_absent("a", b"x")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StoreUnavailable, match="No space left on device"):
                store.write_if_absent("b", b"y")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", "no store is named"),
        ("s3:bucket", "is named s3://BUCKET"),
        ("s3://bucket/prefix?secret", "without credentials or a query"),
        ("ftp://host/x", "ftp: is no kind of store"),
        ("file://otherhost/x", "lies on this machine"),
        ("file:", "needs a path"),
    ],
)
def test_locations_that_are_no_store(location: str, message: str) -> None:
    for opening in (open_store, open_writable_store):
        with pytest.raises(InvalidInput, match=message):
            opening(location)


def test_a_store_on_the_web_is_not_written_to() -> None:
    with pytest.raises(Refused, match=r"https://repo\.example/store is read-only"):
        open_writable_store("https://repo.example/store")


def test_a_store_in_s3_is_named_by_its_place() -> None:
    assert open_store("s3://bucket/prefix/").location == "s3://bucket/prefix"


@pytest.mark.parametrize("location", ["https://user:CANARY@host/x", "s3://CANARY@bucket", "http://CANARY@h"])
def test_secrets_in_a_location_are_not_repeated(location: str) -> None:
    with pytest.raises(InvalidInput, match="keep credentials out of URLs") as caught:
        open_store(location)
    assert "CANARY" not in str(caught.value)


def test_file_locations_name_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = f"file://{tmp_path}/my store"
    for location in (f"file://{tmp_path}/my%20store", "file:my%20store", "my store", f"{tmp_path}/my store"):
        assert open_store(location).location == expected
