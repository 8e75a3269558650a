"""Reading objects of a bucket: bounded, by range, and on from where a connection broke."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from distributor.stores.interface import CHUNK_SIZE
from distributor.stores.s3.errors import Problem, problem_of
from manifests.errors import NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.s3.client import Bucket

# Requests are retried by botocore; an answer that breaks off in its body is only ever resumed here.
_CUT = (IncompleteReadError, HTTPClientError, OSError)
_CUTS_IN_A_ROW = 5
_NEXT_ROOT = re.compile(r"metadata/[1-9][0-9]*\.root\.json")
_ALWAYS_THERE = "metadata/timestamp.json"


def read_whole(bucket: Bucket, path: str, *, limit: int) -> tuple[bytes, str]:
    """Return the object and its ETag.

    Raises NotFound, VerificationFailed where it is larger than *limit*, StoreUnavailable; botocore's.
    """
    response = _get(bucket, path)
    length = response.get("ContentLength")
    if length is None or length > limit:
        response["Body"].close()
        if length is None:
            raise StoreUnavailable(f"{bucket.location} does not say how long {path} is; use another server")
        raise VerificationFailed(f"{path} in {bucket.location} is larger than the {limit} bytes it may have")
    return b"".join(_follow(bucket, path, 0, length, response)), response["ETag"]


def read_range(bucket: Bucket, path: str, *, offset: int, length: int) -> Iterator[bytes]:
    """Yield exactly *length* bytes from *offset* on. Raises NotFound, StoreUnavailable; botocore's."""
    end = offset + length
    if not length:
        if head(bucket, path) is None:
            raise _missing(bucket, path)
        return
    try:
        response = _get(bucket, path, Range=f"bytes={offset}-{end - 1}")
    except ClientError as error:
        if problem_of(error) is not Problem.RANGE:
            raise
        found = head(bucket, path)
        size = found["ContentLength"] if found is not None else 0
        raise _too_short(bucket, path, size, end) from None
    yield from _follow(bucket, path, offset, end, response)


def head(bucket: Bucket, path: str, *, hurried: bool = False) -> dict[str, Any] | None:
    """Return what the server says of the object, or None where there is none."""
    try:
        return bucket.call("head_object", path, hurried=hurried)
    except ClientError as error:
        if _is_missing(bucket, path, error):
            return None
        raise


def _get(bucket: Bucket, path: str, **parameters: Any) -> dict[str, Any]:
    try:
        return bucket.call("get_object", path, **parameters)
    except ClientError as error:
        if _is_missing(bucket, path, error):
            raise _missing(bucket, path) from None
        raise


def _is_missing(bucket: Bucket, path: str, error: ClientError) -> bool:
    """Decide whether *error* says that there is no such object. The one place for it.

    S3 answers 403 for a missing object too, where the credentials may not list. "Denied" never passes
    for "missing", but for the one object that readers ask for in the hope that it is missing: the next
    root. It counts as missing if what every signed store has can be read with the same credentials.
    """
    problem = problem_of(error)
    if problem is Problem.DENIED and _NEXT_ROOT.fullmatch(path):
        try:
            bucket.call("head_object", _ALWAYS_THERE)
        except ClientError:
            return False
        return True
    return problem is Problem.MISSING


def _follow(bucket: Bucket, path: str, offset: int, end: int, response: dict[str, Any]) -> Iterator[bytes]:
    """Yield the bytes up to *end*, resuming the very same object after a cut."""
    etag, cuts = response["ETag"], 0
    while True:
        begin = offset
        try:
            with contextlib.closing(response["Body"]) as body:
                _check_range(bucket, response, offset)
                while offset < end and (chunk := body.read(min(CHUNK_SIZE, end - offset))):
                    offset += len(chunk)
                    yield chunk
        except _CUT:
            # A server that moves on is not given up, one that only drips is.
            cuts = 0 if offset - begin >= CHUNK_SIZE else cuts + 1
            if cuts > _CUTS_IN_A_ROW:
                raise
        else:
            break
        response = _get(bucket, path, Range=f"bytes={offset}-{end - 1}", IfMatch=etag)
    if offset < end:
        raise _too_short(bucket, path, offset, end)


def _check_range(bucket: Bucket, response: dict[str, Any], offset: int) -> None:
    given = response.get("ContentRange")
    if (given is None and offset) or (given is not None and not given.startswith(f"bytes {offset}-")):
        raise StoreUnavailable(f"{bucket.location} ignores byte ranges; use another server or store")


def _missing(bucket: Bucket, path: str) -> NotFound:
    return NotFound(Problem.MISSING.value.format(path=path, location=bucket.location))


def _too_short(bucket: Bucket, path: str, size: int, end: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} in {bucket.location} ends at byte {size}, expected {end}; its copy is incomplete"
    )
