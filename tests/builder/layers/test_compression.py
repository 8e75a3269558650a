from __future__ import annotations

import gzip
import hashlib
import io

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from builder.layers.compression import FRAME_SIZE, Compression, FrameWriter
from manifests.errors import InvalidInput


def written(portions: list[bytes], compression: Compression) -> tuple[bytes, FrameWriter]:
    sink = io.BytesIO()
    writer = FrameWriter(sink, compression)
    for portion in portions:
        writer.write(portion)
    writer.close()
    return sink.getvalue(), writer


def plain(data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
@pytest.mark.parametrize("size", [0, 1, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 2 * FRAME_SIZE + 5])
def test_frames_come_back_and_figures_are_right(kind: str, size: int) -> None:
    content = bytes(size)
    data, writer = written([content], Compression(kind, 1))
    assert plain(data, kind) == content if size else data == b""
    assert (writer.length, writer.tar_length) == (len(data), size)
    assert writer.sha256 == hashlib.sha256(data).hexdigest()
    assert writer.tar_sha256 == hashlib.sha256(content).hexdigest()
    if kind == "zstd":
        frames = data.count(bytes.fromhex("28b52ffd"))
        assert frames == -(-size // FRAME_SIZE)


@given(st.lists(st.binary(max_size=300)))
def test_portions_do_not_matter(portions: list[bytes]) -> None:
    assert written(portions, Compression())[0] == written([b"".join(portions)], Compression())[0]


def test_gzip_headers_hold_no_time_or_name() -> None:
    data, _ = written([b"x"], Compression("gzip", 6))
    assert data[3:8] == bytes(5)


def test_the_identity_names_compressor_version_and_level() -> None:
    assert Compression("zstd", 7).identity.endswith("-level7")
    assert len({Compression("zstd", level).identity for level in range(1, 20)}) == 19
    assert Compression("gzip", 6).identity.startswith("gzip-1.")


@pytest.mark.parametrize(("kind", "level"), [("zstd", 0), ("zstd", 20), ("gzip", 10), ("xz", 6)])
def test_other_levels_and_kinds_are_refused(kind: str, level: int) -> None:
    with pytest.raises(InvalidInput, match=f"{kind}"):
        Compression(kind, level)
