"""Tar members changed at random, with their checksums made right again: nothing ever gets outside.

``VENVOY_MUTATIONS`` sets how many; a million takes some ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import stat
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from distributor.layers.staged_files import StagedFiles
from distributor.layers.tar_reader import read_members
from manifests.errors import VenvoyError
from tests.distributor.hostile import folder, link, member, tar

COUNT = int(os.environ.get("VENVOY_MUTATIONS", "200000"))
SECONDS_EACH = 5
SEED = tar(
    folder("lib"),
    member("lib/a", b"content of a"),
    member("lib/x", b"x", mode=0o755),
    folder("lib/sub"),
    link("lib/sub/l", "../a"),
    member("lib/sub/" + "deep/" * 30 + "end", b""),
    member("bin", b"y" * 700),
)
# Where a header's fields lie (POSIX ustar): name, mode, owner, size, time, kind, link, prefix.
FIELDS = ((0, 100), (100, 8), (108, 16), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155))
NASTY = (
    *(
        b"../escaped",
        b"/escaped",
        b"lib/../../escaped",
        b"..",
        b".",
        b"",
        b"lib//x",
        b"lib/./x",
        b"\0",
        b"\xff\xfe",
    ),
    *(b"0006755", b"0000777", b"77777777777", b"-0000001", b"\x80\0\0\0\0\0\0\0\xff", b"\xff" * 12),
    *(b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S", b"V"),
    *(b"11 path=/e\n", b"17 linkpath=/etc\n", b"9 size=9\n", b"99999999 path=x\n"),
)


def mutated(source: random.Random) -> bytes:
    """Return the seed with a few fields replaced, bytes flipped, or blocks moved, and valid checksums."""
    data = bytearray(SEED)
    blocks = len(data) // 512
    for _ in range(source.randint(1, 4)):
        block = source.randrange(blocks) * 512
        start, size = source.choice(FIELDS)
        choice = source.random()
        if choice < 0.5:
            value = source.choice(NASTY)[:size]
            data[block + start : block + start + size] = value.ljust(size, b"\0")
        elif choice < 0.75:
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        elif choice < 0.9:
            other = source.randrange(blocks) * 512
            data[block : block + 512], data[other : other + 512] = (
                data[other : other + 512],
                data[block : block + 512],
            )
        else:
            del data[block : block + 512]
            data += bytes(512)
    for block in range(0, len(data) - 511, 512):
        if data[block + 257 : block + 262] == b"ustar":
            total = sum(data[block : block + 148]) + 8 * 32 + sum(data[block + 156 : block + 512])
            data[block + 148 : block + 156] = b"%06o\0 " % total
    return bytes(data)


@contextlib.contextmanager
def prison() -> Iterator[Path]:
    """A directory in memory: archives are unpacked to ``root``, and nothing else may change."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="venvoy-mutations-", dir=where))
    try:
        (place / "canary").write_bytes(b"sings")
        yield place
    finally:
        shutil.rmtree(place)


def escaped(place: Path) -> str | None:
    """Say what is outside of the root, or special inside of it."""
    if sorted(path.name for path in place.iterdir()) != ["canary", "root"]:
        return "something stands beside the root"
    if (place / "canary").read_bytes() != b"sings":
        return "the canary was touched"
    for path in (place / "root").rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = os.path.normpath(path.parent / path.readlink())
            if path.readlink().is_absolute() or not target.startswith(f"{place / 'root'}/"):
                return f"{path.name} leads outside"
        elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return f"{path.name} is special"
        elif stat.S_IMODE(status.st_mode) not in (0o644, 0o755):
            return f"{path.name} has mode {stat.S_IMODE(status.st_mode):o}"
    return None


def ours(data: bytes, root: Path) -> None:
    """Unpack as an install does, links last; all of it, a part or nothing is in memory at the start."""
    begun = (len(data), 0, len(data) // 3)[zlib.crc32(data) % 3]
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    files = StagedFiles(descriptor, frozenset())
    try:
        with contextlib.suppress(VenvoyError):
            read_members(BytesIO(data[begun:]).read, len(data), 7, files, begun=data[:begun])
            for path, target in files.links.items():
                with contextlib.suppress(FileExistsError, FileNotFoundError, NotADirectoryError):
                    os.symlink(target, path, dir_fd=descriptor)
    finally:
        files.close()
        os.close(descriptor)


def trusting(data: bytes, root: Path) -> None:
    """Unpack as nobody should."""
    with (
        warnings.catch_warnings(),
        contextlib.suppress(tarfile.TarError, OSError, ValueError, UnicodeError, KeyError, OverflowError),
        tarfile.open(fileobj=BytesIO(data)) as archive,
    ):
        warnings.simplefilter("ignore")
        found = archive.getmembers()
        # It is to escape from its root, and not from the prison around that.
        harmless = all(
            not name.startswith("/") and name.count("..") <= 1 + name.startswith("lib/../..")
            for item in found
            for name in (item.name, item.linkname)
        )
        plain = all(item.isreg() or item.isdir() for item in found)
        if harmless and plain and sum(item.size for item in found) < 100_000:
            archive.extractall(root)


def sweep(unpack: Callable[[bytes, Path], None], count: int) -> dict[str, int]:
    """Unpack *count* mutations; return what escaped, by kind."""
    source = random.Random(20161)
    found: dict[str, int] = {}
    before = os.umask(0o022)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("an archive took too long"))
    try:
        with prison() as place:
            for _ in range(count):
                root = place / "root"
                root.mkdir()
                data = mutated(source)
                signal.alarm(SECONDS_EACH)
                unpack(data, root)
                signal.alarm(0)
                why = escaped(place)
                if why is not None:
                    found[why.split()[-1]] = found.get(why.split()[-1], 0) + 1
                    for path in place.iterdir():
                        if path.name not in ("canary", "root"):
                            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    (place / "canary").write_bytes(b"sings")
                shutil.rmtree(root)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.umask(before)
    return found


@pytest.mark.parametrize("count", [2000, pytest.param(COUNT, marks=pytest.mark.slow)])
def test_no_mutation_gets_outside(count: int) -> None:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = sweep(ours, count)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
    print(f"{count} mutations: {sum(found.values())} escapes, memory grew by {grown // 1024} MB")
    assert found == {}
    assert grown < 200 * 1024


def test_the_sweep_notices_an_unpacker_that_trusts() -> None:
    """A control: the same archives, unpacked without care, do get outside."""
    if not hasattr(tarfile, "fully_trusted_filter"):
        pytest.skip("this tarfile has no filters")
    found = sweep(trusting, 6000)
    assert found.get("root", 0) > 0  # beside it
    assert sum(found.values()) > 20
