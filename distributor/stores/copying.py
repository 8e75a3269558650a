"""Copying into a store: count, hash and bound in one place, so that no backend can skip it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.stores.interface import CHUNK_SIZE
from manifests.errors import NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributor.stores.interface import Digest


def checked_chunks(
    source: Path | bytes, expect: Digest | None, moved: Callable[[int], None] = lambda _: None
) -> Iterator[bytes]:
    """Yield the bytes of *source* in chunks, and raise at the end unless they are the expected ones.

    *moved* is told of each chunk when the next one is asked for.

    A consumer makes the copy visible only after the last chunk came without an error. Raises
    VerificationFailed, NotFound where *source* is no file, StoreUnavailable where it cannot be read.
    """
    name = "the data" if isinstance(source, bytes) else str(source)
    digest = hashlib.sha256()
    length = 0
    for chunk in _chunks(source):
        length += len(chunk)
        if expect is not None and length > expect.length:
            raise VerificationFailed(f"{name} is longer than the {expect.length} bytes of its manifest")
        digest.update(chunk)
        yield chunk
        moved(len(chunk))
    if expect is not None and (length, digest.hexdigest()) != (expect.length, expect.sha256):
        raise VerificationFailed(
            f"{name} has {length} bytes and sha256 {digest.hexdigest()}, its manifest promises "
            f"{expect.length} and {expect.sha256}; build it again"
        )


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK_SIZE):
            yield source[start : start + CHUNK_SIZE]
        return
    try:
        with Path(source).open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK_SIZE):
                yield chunk
    except FileNotFoundError:
        raise NotFound(f"{source} does not exist") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {source}: {error.strerror}") from error


def read_up_to(descriptor: int, limit: int) -> Iterator[bytes]:
    """Yield what *descriptor* holds, in chunks, *limit* bytes at most."""
    while limit > 0 and (chunk := os.read(descriptor, min(CHUNK_SIZE, limit))):
        limit -= len(chunk)
        yield chunk
