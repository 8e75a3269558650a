"""Canonical JSON and digests: how every wire document is written, hashed and read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any, NewType

from manifests.errors import InvalidInput

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
_READ_SIZE = 1024 * 1024


def canonical_json(value: Any) -> bytes:
    """Return *value* as canonical JSON: sorted keys, no spaces, UTF-8, one final newline.

    Two equal values give equal bytes on every machine. Floats are refused (ValueError), since
    their text is not canonical.
    """
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(f"a canonical document holds no floats, found {value!r}")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_floats(item)


def digest_of(value: Any) -> Sha256:
    """Return the sha256 of *value*'s canonical JSON; the framing makes it unambiguous."""
    return sha256_bytes(canonical_json(value))


def sha256_bytes(data: bytes | bytearray | memoryview) -> Sha256:
    """Return the sha256 of *data* as lower-case hex."""
    return Sha256(hashlib.sha256(data).hexdigest())


def sha256_file(path: Path) -> Sha256:
    """Return the sha256 of the file at *path*, read in chunks. Raises OSError."""
    with path.open("rb", buffering=0) as stream:
        return sha256_stream(stream)


def sha256_stream(stream: IO[bytes]) -> Sha256:
    """Return the sha256 of what *stream* still yields, read in chunks. Raises OSError."""
    digest = hashlib.sha256()
    while chunk := stream.read(_READ_SIZE):
        digest.update(chunk)
    return Sha256(digest.hexdigest())


def parse_json(data: bytes, *, what: str) -> dict[str, Any]:
    """Parse a JSON object from untrusted *data*; *what* names the document in errors.

    Raises InvalidInput for anything that is not a UTF-8 JSON object of at most
    ``MAX_DOCUMENT_BYTES``, or that repeats a key.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(
            f"{what}: {len(data)} bytes is more than a document may have ({MAX_DOCUMENT_BYTES})"
        )
    try:
        value = json.loads(data, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{what}: expected a JSON object, found {type(value).__name__}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
