"""The unpacker against artifacts whose signatures are right and whose contents are an attack."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distributor.layers.unpack import Unpacker
from manifests.artifact import Layer, Overlap
from manifests.errors import StoreUnavailable, VenvoyError, VerificationFailed
from tests.distributor.hostile import Member, artifact, edited, folder, link, member, streamed, tar, unpack

GOOD = (
    folder("lib"),
    member("lib/a.py", b"a = 1\n"),
    member("lib/run", b"#!/bin/sh\n", mode=0o755),
    link("l64", "lib"),
)
PLAIN = tar(member("a.py", b"x" * 600))
LONG = "d" * 90 + "/" + "e" * 90 + "/" + "f" * 90

ATTACKS: dict[str, bytes | tuple[Member, ...]] = {
    "parent traversal": (member("../evil", b"x"),),
    "deep parent traversal": (folder("a"), member("a/../../evil", b"x")),
    "absolute path": (member("/tmp/evil", b"x"),),
    "absolute directory": (folder("/tmp/evil-folder"),),
    "dot part": (member("./evil", b"x"),),
    "empty part": (folder("a"), member("a//evil", b"x")),
    "dot as a name": (member(".", b"x"),),
    "dot dot as a directory": (folder(".."),),
    "trailing slash on a file": edited(PLAIN, 0, b"a.py/\0"),
    "traversal by pax path": (member("x" * 300 + "/../../../../evil", b"x"),),
    "absolute path by pax": (member("/" + LONG, b"x"),),
    "NUL in a pax path": (member("ok", b"x", pax_headers={"path": "a\0b"}),),
    "over-long name": (member("n" * 256, b"x"),),
    "over-long path": (member("/".join(["n" * 200] * 25), b"x"),),
    "name that is not UTF-8": edited(PLAIN, 0, b"\xff\xfe\0"),
    "empty name": edited(PLAIN, 0, bytes(100)),
    "absolute link": (link("evil", "/etc"),),
    "escaping link": (link("evil", ".."),),
    "escaping link from a folder": (folder("a"), link("a/evil", "../..")),
    "link that leaves and comes back": (folder("a"), link("a/evil", "../../x/a")),
    "empty link": (link("evil", ""),),
    "long escaping link by pax": (link("evil", "../" * 60 + "etc"),),
    "file through a link": (link("evil", "lib"), folder("lib"), member("evil/a.py", b"x")),
    "link in place of a directory": (folder("lib"), link("lib", "elsewhere")),
    "link under a file's name": (member("lib", b"x"), link("lib", "elsewhere")),
    "link behind a link": (
        folder("p"),
        folder("p/q"),
        link("p/q/r", "../.."),
        link("p/q/r/evil", "../../../x"),
    ),
    "two links of one name": (link("evil", "a"), link("evil", "b"), link("evil", "a")),
    "hard link": (member("a", b"x"), member("evil", type=tarfile.LNKTYPE, linkname="a")),
    "hard link to the outside": (member("evil", type=tarfile.LNKTYPE, linkname="/etc/passwd"),),
    "character device": (member("evil", type=tarfile.CHRTYPE, devmajor=1, devminor=3),),
    "block device": (member("evil", type=tarfile.BLKTYPE),),
    "fifo": (member("evil", type=tarfile.FIFOTYPE),),
    "contiguous file": (member("evil", type=tarfile.CONTTYPE),),
    "GNU sparse file": (member("evil", type=tarfile.GNUTYPE_SPARSE),),
    "old-style regular file": edited(PLAIN, 156, b"\0"),
    "unknown type": edited(PLAIN, 156, b"Z"),
    "volume label": edited(PLAIN, 156, b"V"),
    "setuid": (member("evil", b"x", mode=0o4755),),
    "setgid": (member("evil", b"x", mode=0o2755),),
    "sticky": (member("evil", b"x", mode=0o1644),),
    "world-writable": (member("evil", b"x", mode=0o666),),
    "world-writable directory": (folder("evil", mode=0o777),),
    "private directory": (folder("evil", mode=0o700),),
    "setgid directory": (folder("evil", mode=0o2755),),
    "directory with content": edited(tar(folder("evil")), 124, b"00000001000"),
    "GNU long name": tar(member(LONG, b"x"), format=tarfile.GNU_FORMAT),
    "GNU magic": tar(member("a", b"x"), format=tarfile.GNU_FORMAT),
    "pax global header": edited(tar(member("ok", b"x", pax_headers={"comment": "y"})), 156, b"g"),
    "pax size": (member("ok", b"x", pax_headers={"size": "10"}),),
    "pax owner": (member("ok", b"x", pax_headers={"uid": "0"}),),
    "pax xattr": (member("ok", b"x", pax_headers={"SCHILY.xattr.security.capability": "x"}),),
    "pax sparse": (member("ok", b"x", pax_headers={"GNU.sparse.major": "1"}),),
    "pax record with a wrong length": tar(member(LONG, b"x")).replace(b"path=", b"path-", 1),
    "base-256 size": edited(PLAIN, 124, b"\x80" + bytes(10) + b"\x05"),
    "negative size": edited(PLAIN, 124, b"-0000000001\0"),
    "size with blanks": edited(PLAIN, 124, b" 0000000001\0"),
    "size with an underscore": edited(PLAIN, 124, b"0000000_001\0"),
    "size with a prefix": edited(PLAIN, 124, b"0o000000001\0"),
    "size with a digit 8": edited(PLAIN, 124, b"00000000008\0"),
    "size beyond the layer": edited(PLAIN, 124, b"00000777777\0"),
    "size of eight gigabytes": edited(PLAIN, 124, b"77777777777\0"),
    "content cut short": PLAIN[:-512],
    "header cut short": PLAIN + b"tail",
    "zero block in the middle": tar(member("a", b"x")) + bytes(512) + tar(member("b", b"x")),
    "file before its directory": (member("lib/a.py", b"x"),),
    "directory before its parent": (folder("a/b"),),
    "directory below a file": (member("a", b"x"), folder("a/b")),
    "directory in place of a file": (member("a", b"x"), folder("a")),
    "file in place of a directory": (folder("a"), member("a", b"x")),
    "the same file twice": (member("a", b"1"), member("a", b"2")),
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_is_refused_and_nothing_outside_is_touched(tmp_path: Path, name: str) -> None:
    attack = ATTACKS[name]
    body = attack if isinstance(attack, bytes) else tar(*attack)
    root = tmp_path / "stage" / "root"
    root.mkdir(parents=True, mode=0o700)
    with pytest.raises(VerificationFailed, match=r"^(layer layer-0: |[^ ]+: )"):
        unpack(*artifact(body), root)
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["root"]
    assert not any(path.is_symlink() for path in root.rglob("*"))
    assert not Path("/tmp/evil").exists()


def test_there_are_forty_attacks_and_more() -> None:
    assert len(ATTACKS) >= 40


def test_good_layers_unpack_with_exact_modes(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        unpack(*artifact(tar(*GOOD)), tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"lib": 0o755, "a.py": 0o644, "run": 0o755, "l64": 0o777}
    assert (tmp_path / "l64/a.py").read_text() == "a = 1\n"


def test_long_and_odd_names_unpack(tmp_path: Path) -> None:
    names = ["é", "a b", "-x", "q'\"$`\\", "n" * 255, "日" * 85]
    deep = "/".join(["d" * 60] * 6)
    parents = ["/".join(["d" * 60] * depth) for depth in range(1, 7)]
    body = tar(
        *(folder(path) for path in parents), *(member(f"{deep}/{name}", name.encode()) for name in names)
    )
    unpack(*artifact(body), tmp_path)
    assert sorted(path.name for path in (tmp_path / deep).iterdir()) == sorted(names)


def test_a_listed_overlap_is_written_once_by_its_last_owner(tmp_path: Path) -> None:
    bodies = [tar(folder("lib"), member("lib/same", content)) for content in (b"1", b"2", b"3")]
    overlap = Overlap(path="lib/same", layers=(0, 1, 2))
    for jobs in (1, 2):
        root = tmp_path / str(jobs)
        root.mkdir()
        unpack(*artifact(*bodies, overlaps=(overlap,)), root, jobs=jobs)
        assert (root / "lib/same").read_bytes() == b"3"


def test_an_unlisted_overlap_is_refused(tmp_path: Path) -> None:
    bodies = [tar(folder("lib"), member("lib/same", b"1"))] * 2
    with pytest.raises(VerificationFailed, match="a second layer holds it"):
        unpack(*artifact(*bodies), tmp_path)


@pytest.mark.parametrize("members", [0, 1, 2, 4, 100])
def test_signed_member_count_is_held(tmp_path: Path, members: int) -> None:
    body = tar(member("a", b"1"), member("b", b"2"), member("c", b"3"))
    if members == 0:
        unpack(*artifact(body, members=0), tmp_path)  # a layer without members is never opened
        assert list(tmp_path.iterdir()) == []
        return
    with pytest.raises(VerificationFailed, match="members"):
        unpack(*artifact(body, members=members), tmp_path)


@pytest.mark.parametrize("difference", [-512, 512, 10**9])
def test_signed_tar_length_is_held(tmp_path: Path, difference: int) -> None:
    body = tar(member("a", b"1"), member("b", b"2" * 5000))
    with pytest.raises(VerificationFailed):
        unpack(*artifact(body, tar_length=len(body) + difference), tmp_path)


@pytest.mark.parametrize("kind", ["one frame", "many frames", "no size in the frame", "gzip"])
def test_bomb_is_not_unpacked_beyond_its_signed_size(tmp_path: Path, kind: str) -> None:
    """300 MB of zeros behind 1 MB of signed size: memory and disk stay near the signed size."""
    real = tar(member("zeros", bytes(300 * 1024 * 1024)))
    signed = tar(member("zeros", bytes(1024 * 1024)))
    packers = {
        "one frame": zstandard.ZstdCompressor(level=1).compress,
        "many frames": lambda data: b"".join(
            zstandard.ZstdCompressor(level=1).compress(data[i : i + 2**23])
            for i in range(0, len(data), 2**23)
        ),
        "no size in the frame": zstandard.ZstdCompressor(level=1, write_content_size=False).compress,
        "gzip": _gzip,
    }
    found, tarball = artifact(real, tar_length=len(signed), pack=packers[kind])
    if kind == "gzip":
        found = type(found)(
            **{**{n: getattr(found, n) for n in found.__dataclass_fields__}, "compression": "gzip"}
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VerificationFailed):
        unpack(found, tarball, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) <= len(signed) * 1.01
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(data) + packer.flush()


def test_every_flip_and_truncation_of_a_layer_is_refused(tmp_path: Path) -> None:
    found, tarball = artifact(tar(*GOOD, member("lib/noise", os.urandom(3000))))
    for position in range(len(tarball)):
        damaged = bytearray(tarball)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(VerificationFailed, match="sha256 is"):
            unpack(found, bytes(damaged), tmp_path)
        with pytest.raises(VerificationFailed, match="bytes instead of the signed"):
            unpack(found, tarball[:position], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_signed_end_the_transfer(tmp_path: Path) -> None:
    found, tarball = artifact(tar(*GOOD))
    taken = 0

    def endless(layer: Layer) -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 65536
            yield bytes(65536)

    with pytest.raises(VerificationFailed, match="more than the signed"):
        Unpacker(found, streamed(endless), tmp_path, jobs=1).run()
    assert taken <= len(tarball) + 65536


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_errors_of_the_source_come_through(tmp_path: Path, jobs: int) -> None:
    found, _ = artifact(*[tar(member(f"f{n}", b"x")) for n in range(6)])

    def broken(layer: Layer) -> Iterator[bytes]:
        raise StoreUnavailable("the store is gone")

    with pytest.raises(StoreUnavailable, match="the store is gone"):
        Unpacker(found, streamed(broken), tmp_path, jobs=jobs).run()


def test_streamed_and_in_memory_layers_give_the_same_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tar(*GOOD, *(member(f"lib/f{n}", os.urandom(n * 977)) for n in range(60)))
    found, tarball = artifact(body)
    trees = []
    for name, in_memory, one_piece in (("memory", 2**23, 2**24), ("stream", 2**23, 0), ("spool", 0, 0)):
        monkeypatch.setattr("distributor.layers.cache._IN_MEMORY", in_memory)
        monkeypatch.setattr("distributor.layers.unpack._ONE_PIECE", one_piece)
        monkeypatch.setattr("distributor.layers.tar_reader._REFILL", 2**22 if name == "memory" else 700)
        root = tmp_path / name
        root.mkdir()
        unpack(found, tarball, root)
        trees.append({p.name: p.read_bytes() for p in root.rglob("*") if p.is_file()})
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) == 62


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6
    )
)
def test_mutated_layers_stay_inside(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    body = bytearray(tar(*GOOD, member("lib/x", b"x" * 700), member(LONG.replace("d" * 90, "lib"), b"y")))
    for position, value in edits:
        start = position % len(body)
        body[start : start + len(value)] = value[: len(body) - start]
    stage = tmp_path_factory.mktemp("mutation")
    (stage / "root").mkdir()
    with contextlib.suppress(VenvoyError):
        unpack(*artifact(bytes(body)), stage / "root")
    assert [path.name for path in stage.iterdir()] == ["root"]
    for path in (stage / "root").rglob("*"):
        assert path.lstat().st_mode & 0o7022 == 0 or path.is_symlink()
