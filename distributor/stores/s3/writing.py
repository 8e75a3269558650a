"""Writes that never replace what somebody else wrote: the server's conditions, or a lock instead of them.

Which of the two is found out by asking the server, once for each process and bucket: some servers refuse
conditions, others take no notice of them and overwrite.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from distributor.stores.media_types import media_type
from distributor.stores.s3.client import HIDDEN
from distributor.stores.s3.errors import Problem, is_final, problem_of, was_retried
from distributor.stores.s3.lock import hold_store
from distributor.stores.s3.reading import head, read_whole
from distributor.stores.s3.upload import PART_SIZE, upload
from manifests.errors import Refused, StoreUnavailable, VenvoyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributor.stores.s3.client import Bucket
    from distributor.stores.s3.options import S3Connection
    from distributor.stores.s3.upload import Upload

PROBES = f"{HIDDEN}probe-"
_CONFLICTS = 8
_NO_ETAG = '"00000000000000000000000000000000"'
_UNHEEDED = (Problem.UNSUPPORTED, Problem.OTHER)

_conditional: dict[tuple[S3Connection, str], bool] = {}  # by server and bucket


class Writer(Protocol):
    """Atomic writes of one object. All return whether the object was written, and raise botocore's errors."""

    single_limit: int  # bytes; what is larger is uploaded in parts

    def put_absent(self, path: str, data: bytes) -> bool:
        """Put *data* unless there is an object."""

    def complete_absent(self, parts: Upload) -> bool:
        """Make what was uploaded visible unless there is an object."""

    def replace(self, path: str, data: bytes, etag: str) -> bool:
        """Put *data* in the place of the object that has this *etag*."""


def writer_for(bucket: Bucket) -> Writer:
    """Return what the server allows. Raises Refused where only conditional writes may be used."""
    options = bucket.options
    server = (options.connection, options.bucket)
    if server not in _conditional:
        _conditional[server] = has_conditional_writes(bucket)
    if _conditional[server]:
        return ConditionalWriter(bucket)
    if options.require_conditional:
        raise Refused(
            f"{bucket.location} has no conditional writes, which VENVOY_S3_REQUIRE_CONDITIONAL asks for; "
            "use another server, or set it to 0 and read about the lock in docs/stores.md"
        )
    return LockedWriter(bucket)


class ConditionalWriter:
    """The server itself compares and swaps."""

    single_limit = PART_SIZE

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put_absent(self, path: str, data: bytes) -> bool:
        """See Writer."""
        return self._decided(path, lambda: self._put(path, data, IfNoneMatch="*"), data)

    def complete_absent(self, parts: Upload) -> bool:
        """See Writer."""
        return self._decided(
            parts.path,
            lambda: self._bucket.call(
                "complete_multipart_upload", parts.path, IfNoneMatch="*", **parts.arguments()
            ),
        )

    def replace(self, path: str, data: bytes, etag: str) -> bool:
        """See Writer."""
        try:
            self._put(path, data, IfMatch=etag)
        except ClientError as error:
            if problem_of(error) in (Problem.CONDITION, Problem.CONFLICT, Problem.MISSING):
                return was_retried(error) and self._is_there(path, data)
            raise
        return True

    def _decided(self, path: str, write: Callable[[], Any], data: bytes | None = None) -> bool:
        """Write, and find out who came first: 409 only says that others write at this moment."""
        for _ in range(_CONFLICTS):
            try:
                write()
            except ClientError as error:
                problem = problem_of(error)
                if problem is Problem.CONDITION:
                    return data is not None and was_retried(error) and self._is_there(path, data)
                gone = problem is Problem.NO_UPLOAD and was_retried(error)
                if problem is not Problem.CONFLICT and not gone:
                    raise
                if head(self._bucket, path) is not None:
                    return False
                time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - only spreads those who collided
            else:
                return True
        raise StoreUnavailable(Problem.CONFLICT.value.format(path=path, location=self._bucket.location))

    def _is_there(self, path: str, data: bytes) -> bool:
        """Say whether a retried request was refused because its first try had been carried out."""
        with contextlib.suppress(VenvoyError):
            return read_whole(self._bucket, path, limit=len(data))[0] == data
        return False

    def _put(self, path: str, data: bytes, **condition: Any) -> None:
        self._bucket.call("put_object", path, Body=data, ContentType=media_type(path), **condition)


class LockedWriter:
    """Look, then write, while no other publisher does: all of them hold the store's lock meanwhile."""

    # Bytes travel before the lock is taken, but for the few of a document.
    single_limit = 256 * 1024

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put_absent(self, path: str, data: bytes) -> bool:
        """See Writer."""
        return self._locked(path, None, "put_object", Body=data, ContentType=media_type(path))

    def complete_absent(self, parts: Upload) -> bool:
        """See Writer."""
        return self._locked(parts.path, None, "complete_multipart_upload", **parts.arguments())

    def replace(self, path: str, data: bytes, etag: str) -> bool:
        """See Writer."""
        return self._locked(path, etag, "put_object", Body=data, ContentType=media_type(path))

    def _locked(self, path: str, etag: str | None, operation: str, **parameters: Any) -> bool:
        with hold_store(self._bucket) as claim:
            if not self._is_still(path, etag):
                return False
            claim.check()
            try:
                self._bucket.call(operation, path, hurried=True, **parameters)
            except (ClientError, BotoCoreError, OSError) as error:
                if not isinstance(error, ClientError) or not is_final(error):
                    claim.leave()
                    raise
                # A completion whose first answer was lost finds its upload gone.
                if problem_of(error) is not Problem.NO_UPLOAD or self._is_still(path, None):
                    raise
            claim.check(share=0.9)
        return True

    def _is_still(self, path: str, etag: str | None) -> bool:
        found = head(self._bucket, path, hurried=True)
        return (found["ETag"] if found is not None else None) == etag


def has_conditional_writes(bucket: Bucket) -> bool:
    """Find out by a probe object whether the server heeds every condition that is needed.

    A server that answers "done" to what it should refuse ignores the condition. Raises botocore's
    errors where the store cannot be written at all.
    """
    path = f"{PROBES}{secrets.token_hex(16)}"
    etag = bucket.call("put_object", path, Body=b"1")["ETag"]

    def put(**condition: Any) -> Any:
        return bucket.call("put_object", path, Body=b"2", **condition)

    def complete(parts: Upload) -> bool:
        bucket.call("complete_multipart_upload", path, IfNoneMatch="*", **parts.arguments())
        return True

    try:
        return (
            _is_refused(lambda: put(IfNoneMatch="*"))
            and _is_refused(lambda: put(IfMatch=_NO_ETAG))
            and _is_refused(lambda: upload(bucket, path, [b"3"], complete))
            and not _is_refused(lambda: put(IfMatch=etag))
        )
    except ClientError as error:
        if problem_of(error) in _UNHEEDED:
            return False
        raise
    finally:
        with contextlib.suppress(ClientError, BotoCoreError, OSError):
            bucket.call("delete_object", path)


def _is_refused(write: Callable[[], Any]) -> bool:
    try:
        write()
    except ClientError as error:
        if problem_of(error) in (Problem.CONDITION, Problem.CONFLICT):
            return True
        raise
    return False
