"""Documents in gzip: written the same everywhere, read with a bound."""

from __future__ import annotations

import struct
import zlib

from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import VerificationFailed

# No name, no time, no operating system: bytes depend on the content and on zlib's version only.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


def compress(data: bytes) -> bytes:
    """Return *data* as one gzip member without name and time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    return _HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def decompress(data: bytes, *, what: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    """Return the content of the one gzip member *data*. *what* names it in errors.

    Raises VerificationFailed for damage, for bytes after the end, and, before they are unpacked, for
    more than *limit* bytes.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise VerificationFailed(f"{what} is damaged: {error}") from None
    if len(plain) > limit:
        raise VerificationFailed(f"{what} unpacks to more than {limit} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise VerificationFailed(f"{what} is damaged: it does not end where it should")
    return plain
