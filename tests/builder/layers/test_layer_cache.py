from __future__ import annotations

import os
import time
from typing import IO, TYPE_CHECKING

import pytest

from builder.layers.cache import LayerCache
from builder.layers.elf import ElfFile, ElfNeeds
from builder.layers.layer import LayerRecord
from manifests.artifact import EntryPoint
from manifests.documents import Sha256, sha256_bytes
from manifests.errors import StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

KEY = Sha256("ab" * 32)
CONTENT = b"the layer's bytes"
ELF = ElfFile(
    path="lib/x.so",
    needs=ElfNeeds(
        kind="shared",
        machine="EM_X86_64",
        bits=64,
        needed=("libc.so.6",),
        versions={"libc.so.6": ("GLIBC_2.17",)},
    ),
)
RECORD = LayerRecord(
    key=KEY,
    distribution="demo",
    version="1.0",
    length=len(CONTENT),
    sha256=sha256_bytes(CONTENT),
    tar_length=1024,
    tar_sha256=sha256_bytes(b""),
    members=3,
    files={"lib/ünï,x": "0" * 64, "lib64": "lib"},
    entry_points=(EntryPoint(name="demo", module="demo", attribute="main"),),
    elf=(ELF,),
)


def write(sink: IO[bytes]) -> LayerRecord:
    sink.write(CONTENT)
    return RECORD


def everything(root: Path) -> list[str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(root)) for path in files if path.name != "cleaning")


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    assert cache.get(KEY) is None
    assert cache.build(KEY, write) == RECORD
    assert cache.get(KEY) == RECORD
    assert cache.blob(KEY).read_bytes() == CONTENT
    assert everything(tmp_path) == [f"layers/ab/{KEY}.bin", f"layers/ab/{KEY}.json"]
    cache.drop(KEY)
    assert cache.get(KEY) is None
    cache.drop(KEY)


def test_damaged_facts_count_as_absent(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    cache.build(KEY, write)
    facts = tmp_path / f"layers/ab/{KEY}.json"
    good = facts.read_bytes()
    for at in range(0, len(good), 11):
        facts.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert cache.get(KEY) is None
    for cut in (0, 1, 64, 65, len(good) // 2, len(good) - 1):
        facts.write_bytes(good[:cut])
        assert cache.get(KEY) is None
    facts.write_bytes(bytes(len(good)))
    assert cache.get(KEY) is None
    facts.write_bytes(good)
    assert cache.get(KEY) == RECORD


def test_a_truncated_or_missing_blob_counts_as_absent(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    cache.build(KEY, write)
    cache.blob(KEY).write_bytes(CONTENT[:-1])
    assert cache.get(KEY) is None
    cache.blob(KEY).unlink()
    assert cache.get(KEY) is None


def test_facts_of_another_layer_count_as_absent(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    cache.build(KEY, write)
    other = Sha256("cd" * 32)
    for suffix in ("bin", "json"):
        target = tmp_path / f"layers/cd/{other}.{suffix}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((tmp_path / f"layers/ab/{KEY}.{suffix}").read_bytes())
    assert cache.get(other) is None


@pytest.mark.parametrize(
    "error", [VerificationFailed("bad wheel"), KeyboardInterrupt(), OSError(28, "No space left")]
)
def test_a_failed_build_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def fail(sink: IO[bytes]) -> LayerRecord:
        sink.write(CONTENT)
        raise error

    expected = StoreUnavailable if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        LayerCache(tmp_path).build(KEY, fail)
    assert everything(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "layers").write_text("a file")
    with pytest.raises(StoreUnavailable, match=f"cannot write to the layer cache {tmp_path}/layers: "):
        LayerCache(tmp_path).build(KEY, write)


def test_what_a_killed_builder_left_is_swept_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / "layers/tmp"
    left.mkdir(parents=True)
    for name, age in (("old.bin", 25), ("recent.bin", 1)):
        (left / name).write_bytes(b"half")
        then = time.time() - age * 3600
        os.utime(left / name, (then, then))
    LayerCache(tmp_path).build(KEY, write)
    assert [path.name for path in left.iterdir()] == ["recent.bin"]
