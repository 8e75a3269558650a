from __future__ import annotations

import multiprocessing
import os
import stat
import time
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from builder.wheels.cache import WheelCache
from manifests.errors import StoreUnavailable, VerificationFailed
from tests.wheel_factory import Row, corrupt_member, make_wheel, sha256, zip_info

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {"demo/__init__.py": b"x = 1\n", "demo/data.txt": b"needle in the hay\n"}


@pytest.fixture
def cache(tmp_path: Path) -> WheelCache:
    return WheelCache(tmp_path / "cache")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "in", "demo", "1.0", FILES, entry_points={"demo": "demo:main"})


def add(cache: WheelCache, path: Path, expected: str | None = None) -> None:
    cache.add(path, name=path.name, sha256=expected, origin="the test")


def leftovers(cache: WheelCache) -> list[Path]:
    return list((cache.root / "tmp").iterdir())


def test_a_wheel_comes_back_as_it_went_in(cache: WheelCache, wheel: Path) -> None:
    assert cache.get(sha256(wheel), wheel.name) is None
    cached = cache.add(wheel, name=wheel.name, sha256=sha256(wheel), origin="the test")
    assert cached.path.read_bytes() == wheel.read_bytes()
    assert cached.path == cache.root / "wheels" / cached.sha256[:2] / cached.sha256 / wheel.name
    assert cache.get(cached.sha256, wheel.name) == cached.path
    assert cache.get(cached.sha256, wheel.name, size=cached.size) == cached.path
    assert leftovers(cache) == []


def test_portions_of_a_stream_are_taken_too(cache: WheelCache, wheel: Path) -> None:
    content = wheel.read_bytes()
    portions = (content[at : at + 100] for at in range(0, len(content), 100))
    cached = cache.add(portions, name=wheel.name, sha256=None, origin="the test")
    assert cached.sha256 == sha256(wheel)


def test_modes_do_not_depend_on_the_umask(cache: WheelCache, wheel: Path) -> None:
    before = os.umask(0o077)
    try:
        cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    finally:
        os.umask(before)
    assert stat.S_IMODE(cached.path.stat().st_mode) == 0o644


@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_truncated_wheel_is_not_given_out(
    cache: WheelCache, wheel: Path, cut: int, size_known: bool
) -> None:
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    content = cached.path.read_bytes()
    cached.path.write_bytes(content[:-cut])
    size = len(content) if size_known else None
    assert cache.get(cached.sha256, wheel.name, size=size) is None
    cached.path.write_bytes(content[:50] + content[50 + cut :])  # lost in the middle
    assert cache.get(cached.sha256, wheel.name, size=size) is None
    add(cache, wheel)
    assert cache.get(cached.sha256, wheel.name, size=size) == cached.path


def test_an_empty_file_is_not_given_out(cache: WheelCache, wheel: Path) -> None:
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    cached.path.write_bytes(b"")
    assert cache.get(cached.sha256, wheel.name) is None


def test_a_zip_with_a_comment_is_whole(cache: WheelCache, wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.comment = b"hello"
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    assert cache.get(cached.sha256, wheel.name) == cached.path


def test_rot_of_the_same_size_is_healed_by_adding_again(cache: WheelCache, wheel: Path) -> None:
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    cached.path.write_bytes(bytes(cached.size))
    add(cache, wheel)
    assert cached.path.read_bytes() == wheel.read_bytes()


def test_a_good_file_stays_where_it_is(cache: WheelCache, wheel: Path) -> None:
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    inode = cached.path.stat().st_ino
    add(cache, wheel)
    assert cached.path.stat().st_ino == inode
    cache.discard(cached.sha256, wheel.name)
    cache.discard(cached.sha256, wheel.name)
    assert cache.get(cached.sha256, wheel.name) is None


def test_other_bytes_than_promised_are_refused(cache: WheelCache, wheel: Path) -> None:
    with pytest.raises(VerificationFailed) as caught:
        add(cache, wheel, "0" * 64)
    assert str(caught.value) == (
        f"{wheel.name} from the test has sha256 {sha256(wheel)}, the lock says {'0' * 64}; "
        "nothing of it was used: remove the wrong file, or lock again if the new one is meant"
    )
    assert leftovers(cache) == []
    assert not (cache.root / "wheels").exists()


def without(member: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row for row in rows if row[0] != member]


def hashless(member: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [(row[0], "", "") if row[0] == member else row for row in rows]


def other(member: str, cell: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [(row[0], cell, row[2]) if row[0] == member else row for row in rows]


INFO = "demo-1.0.dist-info"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"edit_record": without("demo/data.txt")},
            "'demo/data.txt' is damaged or was altered: No hash found",
        ),
        (
            {"edit_record": hashless("demo/data.txt")},
            "'demo/data.txt' is damaged or was altered: No hash found",
        ),
        ({"edit_record": other("demo/data.txt", "sha256=AAAA")}, "'demo/data.txt' is .*: Hash mismatch"),
        ({"edit_record": other("demo/data.txt", "md5=AAAA")}, r"RECORD is .*: Weak hash algorithm \(md5\)"),
        ({"edit_record": other("demo/data.txt", "rot13=AAAA")}, "RECORD is .*: Unsupported hash algorithm"),
        ({"edit_record": other("demo/data.txt", "nonsense")}, "RECORD is damaged or was altered"),
        ({"edit_record": other("demo/data.txt", "shake_128=AAAA")}, "damaged or was altered"),
        ({"edit_record": lambda rows: [*rows, ("one cell",)]}, "RECORD is damaged or was altered"),
        ({"raw_members": [("demo/extra.py", b"")]}, "'demo/extra.py' is .*: No hash found"),
        ({"raw_members": [("demo/data.txt", b"other")]}, "'demo/data.txt' stands twice"),
        ({"raw_members": [("demo", b"")]}, "'demo' stands twice, or as a file and a folder"),
        ({"raw_members": [("demo/data.txt/x", b"")]}, "'demo/data.txt' is a file and a folder"),
        ({"omit": [f"{INFO}/RECORD"]}, f"RECORD is .*: Missing {INFO}/RECORD"),
        ({"omit": [f"{INFO}/WHEEL"]}, f"{INFO}/WHEEL is missing"),
        ({"omit": [f"{INFO}/METADATA"]}, f"{INFO}/METADATA is missing"),
        ({"files": {"/etc/passwd": b""}}, "'/etc/passwd' has an unsafe name"),
        ({"files": {"../escape": b""}}, "'../escape' has an unsafe name"),
        ({"files": {"demo/../../escape": b""}}, "has an unsafe name"),
        ({"files": {"demo//x": b""}}, "has an unsafe name"),
        ({"files": {"demo\\x.py": b""}}, "has a backslash"),
        ({"files": {"demo/a\nb": b""}}, "has an unsafe name"),
        (
            {"raw_members": [(zip_info("demo/link", stat.S_IFLNK | 0o777), b"/etc")]},
            "is a symlink or special",
        ),
        ({"raw_members": [(zip_info("demo/pipe", stat.S_IFIFO | 0o644), b"")]}, "is a symlink or special"),
        ({"compression": zipfile.ZIP_BZIP2}, "compressed by other means than deflate"),
        ({"dist_info": "demo-2.0.dist-info"}, r"says demo 2\.0, the wheel's file name says demo 1\.0"),
        ({"dist_info": "other-1.0.dist-info"}, "says other 1"),
        ({"metadata": b"Name: other\nVersion: 1.0\n"}, r"METADATA says other 1\.0"),
        ({"metadata": b"Name: demo\nVersion: 1.1\n"}, r"METADATA says demo 1\.1"),
        ({"metadata": b"Name: demo\nVersion: nonsense\n"}, "METADATA says demo nonsense"),
        ({"metadata": b""}, "METADATA says"),
        ({"wheel_metadata": b"Wheel-Version: 2.0\n"}, r"Wheel-Version 2\.0"),
        (
            {"files": {"x-1.0.dist-info/y": b""}},
            "expected one .dist-info folder, found demo-1.0.dist-info, x-1.0",
        ),
        ({"file_name": "demo.whl"}, "not a wheel's file name"),
        ({"file_name": "demo-nonsense-py3-none-any.whl"}, "not a wheel's file name"),
    ],
)
def test_a_wheel_that_is_not_whole_is_refused(
    tmp_path: Path, cache: WheelCache, options: dict[str, object], message: str
) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", **({"files": FILES} | options))  # type: ignore[arg-type]
    with pytest.raises(VerificationFailed, match=message) as caught:
        add(cache, path)
    assert str(caught.value).startswith(f"{path.name} from the test: ")
    assert not (cache.root / "wheels").exists()
    assert leftovers(cache) == []
    assert sorted(tmp_path.iterdir()) == [cache.root, path], "nothing escaped"


def test_a_flipped_bit_is_found(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", FILES, compression=zipfile.ZIP_STORED)
    corrupt_member(path, b"needle in the hay", b"noodle in the hay")
    with pytest.raises(VerificationFailed, match=r"'demo/data\.txt' is damaged or was altered"):
        add(cache, path)


@pytest.mark.parametrize(
    "content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100)]
)
def test_what_is_no_zip_is_refused(cache: WheelCache, content: bytes) -> None:
    with pytest.raises(VerificationFailed, match=r"demo-1\.0-py3-none-any\.whl from the test"):
        cache.add([content], name="demo-1.0-py3-none-any.whl", sha256=None, origin="the test")


def test_any_damaged_byte_gives_a_plain_error(cache: WheelCache, wheel: Path) -> None:
    content = wheel.read_bytes()
    taken = 0
    for at in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[at] ^= 0x55
        try:
            cache.add([bytes(damaged)], name=wheel.name, sha256=None, origin="the test")
        except VerificationFailed:
            continue
        taken += 1  # dates, attributes: bytes that mean nothing
    assert taken < len(content) / 10
    assert leftovers(cache) == []


def test_a_wheel_whose_signature_files_have_no_hash_is_taken(tmp_path: Path, cache: WheelCache) -> None:
    signatures = [(f"{INFO}/RECORD.jws", b"{}"), (f"{INFO}/RECORD.p7s", b"")]
    add(cache, make_wheel(tmp_path, "demo", "1.0", raw_members=signatures))


@pytest.mark.parametrize(
    "dist_info", ["Demo_X-1.0.dist-info", "demo.x-1.0.dist-info", "demo_x-1.0.0.dist-info"]
)
def test_another_spelling_of_name_and_version_is_taken(
    tmp_path: Path, cache: WheelCache, dist_info: str
) -> None:
    add(cache, make_wheel(tmp_path, "demo-x", "1.0", dist_info=dist_info))


def test_folders_in_the_zip_are_taken(tmp_path: Path, cache: WheelCache) -> None:
    folder = zip_info("demo/", stat.S_IFDIR | 0o755)
    add(cache, make_wheel(tmp_path, "demo", "1.0", FILES, raw_members=[(folder, b"")]))


def test_a_name_that_leads_elsewhere_is_refused(cache: WheelCache, wheel: Path) -> None:
    for name in ("../demo-1.0-py3-none-any.whl", "/demo-1.0-py3-none-any.whl", ".demo-1.0-py3-none-any.whl"):
        with pytest.raises(VerificationFailed, match="is not a plain file name"):
            cache.add(wheel, name=name, sha256=None, origin="the test")


def test_a_name_with_a_nul_is_refused(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/aXb": b""}, compression=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"demo/aXb", b"demo/a\0b"))
    with pytest.raises(VerificationFailed, match=r"'demo/a\\x00b' has an unsafe name"):
        add(cache, path)


def test_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"bomb": bytes(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("bomb").file_size = 2 * 1024**3
        archive._didModify = True  # type: ignore[attr-defined] - no public way to forge an archive
    with pytest.raises(VerificationFailed, match="it looks like a zip bomb"):
        add(cache, path)


def test_a_member_longer_than_declared_is_cut_and_refused(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"bomb": bytes(10_000_000)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("bomb").file_size = 1000
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(VerificationFailed, match="'bomb' is damaged or was altered"):
        add(cache, path)


def test_overlapping_members_are_refused(tmp_path: Path, cache: WheelCache) -> None:
    kernel = zlib.compress(bytes(100_000))
    path = make_wheel(tmp_path, "demo", "1.0", {"a": kernel}, compression=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        quoted = archive.getinfo("a")
    names = [f"b{index}" for index in range(50)]
    with zipfile.ZipFile(path, "a") as archive:
        for name in names:
            info = zipfile.ZipInfo(name, quoted.date_time)
            info.header_offset, info.CRC = quoted.header_offset, quoted.CRC
            info.compress_size, info.file_size = quoted.compress_size * 50, quoted.file_size * 50
            archive.filelist.append(info)
        archive._didModify = True  # type: ignore[attr-defined] - no public way to forge an archive
    with pytest.raises(VerificationFailed, match="zip bomb"):
        add(cache, path)


def test_a_member_shorter_than_declared_is_refused(tmp_path: Path, cache: WheelCache) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"a": b"aaaa"}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # the declared size in the first central entry
    content[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(VerificationFailed):
        cache.add([bytes(content)], name=path.name, sha256=None, origin="the test")


def test_stale_temporary_files_are_swept_and_fresh_ones_kept(cache: WheelCache, wheel: Path) -> None:
    for name, age in (("old", 25 * 3600), ("new", 3600)):
        folder = cache.root / "tmp" / f".tmp-{name}"
        folder.mkdir(parents=True)
        (folder / "half.whl").write_bytes(b"PK")
        os.utime(folder, (time.time() - age,) * 2)
    add(cache, wheel)
    assert [path.name for path in leftovers(cache)] == [".tmp-new"]


def test_an_interrupted_stream_leaves_nothing(cache: WheelCache, wheel: Path) -> None:
    def broken() -> object:
        yield b"PK"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.add(broken(), name=wheel.name, sha256=None, origin="the test")  # type: ignore[arg-type]
    assert leftovers(cache) == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match=r"cannot be kept in the wheel cache .*/file/cache: Not a dir"):
        add(WheelCache(tmp_path / "file/cache"), wheel)


def _add_many(root: Path, paths: list[Path]) -> None:
    for path in paths:
        add(WheelCache(root), path)


def test_many_processes_add_the_same_wheels(tmp_path: Path, cache: WheelCache) -> None:
    paths = [make_wheel(tmp_path / "in", f"demo{index}", "1.0", FILES) for index in range(10)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_many, args=(cache.root, paths)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    for path in paths:
        found = cache.get(sha256(path), path.name)
        assert found is not None
        assert found.read_bytes() == path.read_bytes()
    assert leftovers(cache) == []


def test_sdists_lie_beside_wheels(cache: WheelCache) -> None:
    path = cache.add_sdist([b"abc"], name="demo-1.0.tar.gz", sha256=None, origin="the test")
    digest = path.parent.name
    assert cache.get_sdist(digest, path.name) == path
    assert cache.get_sdist(digest, path.name, size=3) == path
    assert cache.get_sdist(digest, path.name, size=4) is None
    assert cache.get_sdist("0" * 64, path.name) is None
    with pytest.raises(VerificationFailed, match="the lock says 0000"):
        cache.add_sdist([b"abc"], name="demo-1.0.tar.gz", sha256="0" * 64, origin="the test")


def test_builds_are_remembered_while_their_wheel_is_there(cache: WheelCache, wheel: Path) -> None:
    cached = cache.add(wheel, name=wheel.name, sha256=None, origin="the test")
    assert cache.built("k") is None
    cache.note_built("k", cached)
    assert cache.built("k") == cached
    for garbage in (b"", b"{}", b'{"format": "9.0"}'):
        cache.built_path("g").write_bytes(garbage)
        assert cache.built("g") is None
    cache.discard(cached.sha256, cached.name)
    assert cache.built("k") is None
