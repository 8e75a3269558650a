"""Hostile layers: correctly signed, wrong inside. What a stolen builder key or a bad wheel could try."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import zstandard

from distributor.layers.cache import OpenedLayer, OpenLayer, verified_bytes
from distributor.layers.unpack import Unpacker
from manifests.artifact import Artifact, Layer, Needs, Overlap
from manifests.documents import Sha256, sha256_bytes
from manifests.target import Target

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", **fields: object) -> Member:
    """Return a regular file, 0644, with *fields* of its header changed."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, **fields: object) -> Member:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def link(name: str, target: str, **fields: object) -> Member:
    return member(name, type=tarfile.SYMTYPE, linkname=target, **{"mode": 0o777, **fields})


def tar(*members: Member, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    """Return the members' bytes without the archive's end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
        end = archive.offset
    return buffer.getvalue()[:end]


def edited(data: bytes, offset: int, value: bytes) -> bytes:
    """Return *data* with *value* at *offset* of the first header, and its checksum made right again."""
    header = bytearray(data[:512])
    header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


def artifact(
    *bodies: bytes,
    members: int | None = None,
    tar_length: int | None = None,
    overlaps: tuple[Overlap, ...] = (),
    pack: Callable[[bytes], bytes] | None = None,
) -> tuple[Artifact, bytes]:
    """Return a manifest whose digests are right for *bodies*, and the tarball."""
    compress = pack or zstandard.ZstdCompressor(level=3).compress
    layers = []
    tarball = b""
    for index, body in enumerate(bodies):
        packed = compress(body)
        layers.append(
            Layer(
                distribution=f"layer-{index}",
                version="1",
                wheel=f"layer_{index}-1-py3-none-any.whl",
                wheel_sha256=sha256_bytes(b""),
                offset=len(tarball),
                length=len(packed),
                sha256=sha256_bytes(packed),
                tar_length=len(body) if tar_length is None else tar_length,
                tar_sha256=sha256_bytes(body),
                members=_count(body) if members is None else members,
            )
        )
        tarball += packed
    found = Artifact(
        service="demo",
        version="1",
        target=Target.parse("cp311-linux_x86_64-glibc2.36"),
        identity=Sha256("0" * 64),
        compression="zstd",
        compiled_by=None,
        needs=Needs(python="cp311", machine="x86_64", libc="glibc", libc_version="2.17", libraries={}),
        layers=tuple(layers),
        length=len(tarball),
        sha256=sha256_bytes(tarball),
        overlaps=overlaps,
    )
    return found, tarball


def streamed(source: Callable[[Layer], Iterable[bytes]]) -> OpenLayer:
    """Return layers straight from *source*, verified as an install does."""
    return lambda layer, private: OpenedLayer(
        verified_bytes(layer, iter(source(layer)), private), layer.length
    )


def unpack(found: Artifact, tarball: bytes, root: Path, *, jobs: int = 1) -> None:
    """Unpack as an install does."""

    def source(layer: Layer) -> list[bytes]:
        return [tarball[layer.offset : layer.offset + layer.length]]

    Unpacker(found, streamed(source), root, jobs=jobs).run()


def _count(body: bytes) -> int:
    count = position = 0
    while position + 512 <= len(body):
        header = body[position : position + 512]
        digits = header[124:135]
        size = int(digits, 8) if digits.isdigit() and b"8" not in digits and b"9" not in digits else 0
        count += header[156:157] not in (b"x", b"g", b"L", b"K")
        position += 512 + size + -size % 512
    return count
