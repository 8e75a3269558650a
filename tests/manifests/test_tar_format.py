from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.tar_format import (
    BLOCK,
    END_OF_ARCHIVE,
    MTIME,
    directory_header,
    file_header,
    link_header,
    padding,
)

if TYPE_CHECKING:
    from pathlib import Path


def archive(*members: bytes) -> bytes:
    return b"".join(members) + END_OF_ARCHIVE


def file(path: str, content: bytes = b"", *, executable: bool = False) -> bytes:
    return file_header(path, len(content), executable=executable) + content + padding(len(content))


def read_back(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return tar.getmembers()


def path_of(length: int, folder: int = 0) -> str:
    """A path of *length* bytes whose folder part has *folder* bytes (0: no folder)."""
    if folder == 0:
        return "n" * length
    return "f" * folder + "/" + "n" * (length - folder - 1)


# Names at and around every limit of the format: 100 bytes of name, 155 of prefix, 256 together.
LIMITS = [
    *(path_of(length) for length in (1, 99, 100, 101, 255)),
    *(path_of(length, 50) for length in (99, 100, 101, 150, 151, 152, 255, 300)),
    *(path_of(255, folder) for folder in (153, 154, 155, 156)),
    *(path_of(256, folder) for folder in (154, 155, 156)),
    path_of(257, 155),
    "/".join(["d" * 30] * 9),
    "/".join(["a"] * 150),
    "ä" * 50,
    "ä" * 51,
    "日本/" * 40 + "名",
    "€" * 85,
    " leading and trailing ",
    ".hidden/..dots../...",
    "-rf",
    "comma,quote\"'`$x",
]


@pytest.mark.parametrize("path", LIMITS, ids=lambda path: f"{path[:8]}-{len(path.encode())}")
def test_paths_come_back_from_python_and_from_gnu_tar(path: str, tmp_path: Path) -> None:
    folder = path.rpartition("/")[0]
    members = [file(path, b"content of it\n", executable=True)]
    if folder:
        members.insert(0, directory_header(folder))
    members.append(link_header(path + "-l" if len(path.encode()) < 240 else "link", path))
    data = archive(*members)
    names = [member.name for member in read_back(data)]
    assert names[-2] == path
    assert read_back(data)[-1].linkname == path
    if folder:
        assert names[0] == folder
        assert read_back(data)[0].isdir()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = tar.extractfile(path)
        assert content is not None
        assert content.read() == b"content of it\n"
    (tmp_path / "x.tar").write_bytes(data)
    subprocess.run(["tar", "-xpf", "x.tar"], cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C"})
    assert (tmp_path / path).read_bytes() == b"content of it\n"
    assert (tmp_path / path).stat().st_mode & 0o7777 == 0o755


_PART = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=80
).filter(lambda part: part not in (".", ".."))
_PATH = st.lists(_PART, min_size=1, max_size=6).map("/".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_PATH, st.binary(max_size=1100), st.booleans()), max_size=4), _PATH, _PATH)
def test_any_tree_comes_back(files: list[tuple[str, bytes, bool]], folder: str, target: str) -> None:
    data = archive(
        directory_header(folder),
        *(file(path, content, executable=executable) for path, content, executable in files),
        link_header("link", target),
    )
    assert len(data) % BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        first, *found, last = tar.getmembers()
        assert (first.name, first.type, first.mode) == (folder, tarfile.DIRTYPE, 0o755)
        assert (last.name, last.type, last.linkname) == ("link", tarfile.SYMTYPE, target)
        for member, (path, content, executable) in zip(found, files, strict=True):
            stream = tar.extractfile(member)
            assert stream is not None
            assert (member.name, stream.read()) == (path, content)
            assert member.mode == (0o755 if executable else 0o644)


def test_nothing_of_the_machine_is_in_a_header() -> None:
    for member in read_back(archive(file("a"), directory_header("b" * 200), link_header("c", "a"))):
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == MTIME
        assert (member.devmajor, member.devminor) == (0, 0)
    assert time.gmtime(MTIME)[:6] == (1980, 1, 2, 0, 0, 0)


def test_the_bytes_of_a_header_are_fixed() -> None:
    # Layers are cached for years and rebuilt elsewhere: a change here is a change of LAYER_FORMAT.
    header = file_header("bin/demo", 10, executable=True)
    assert header[:8] == b"bin/demo"
    assert header[100:156] == (b"0000755\x000000000\x000000000\x0000000000012\x0002263773600\x00010664\x00 ")
    assert header[156:157] == b"0"
    assert header[257:265] == b"ustar\x0000"
    assert not header[265:329].strip(b"\0")
    checked = header[:148] + b" " * 8 + header[156:]
    assert int(header[148:154], 8) == sum(checked)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_padding_fills_the_block(size: int) -> None:
    assert (size + len(padding(size))) % BLOCK == 0
    assert len(padding(size)) < BLOCK


def test_the_largest_member_and_one_byte_more() -> None:
    assert file_header("big", 8**11 - 1, executable=False)[124:136] == b"7" * 11 + b"\0"
    with pytest.raises(ValueError, match="more than a ustar member can hold"):
        file_header("big", 8**11, executable=False)
