"""What a broken upload left on the server, remembered beside the file that was sent: the rest follows later.

Only its own uploads does a publisher go on with: the server tells how many bytes a part has and their
MD5, and nobody else's parts may be taken for ours. A part is sent again unless both are right.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from distributor.stores.s3.errors import Problem, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import Digest
    from distributor.stores.s3.client import Bucket

_MOST_BYTES = 4096


@dataclass(kw_only=True)
class Memory:
    """Where an upload is remembered. Without a *descriptor* nothing is, and nothing goes on."""

    descriptor: int | None = None
    upload_id: str | None = None
    parts: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Size and ETag of each part that the server has."""

    @property
    def keeps(self) -> bool:
        """Whether a broken upload is to be left for the next run."""
        return self.descriptor is not None

    def remember(self, upload_id: str) -> None:
        """Take note of the upload that was begun. That it cannot be written is no error."""
        self._write(json.dumps({"upload": upload_id}).encode())

    def forget(self) -> None:
        """There is nothing to go on with any more."""
        self._write(b"")

    def has(self, number: int, part: bytes) -> str | None:
        """Return the ETag of the part *number* if the server has it as it is here."""
        size, etag = self.parts.get(number, (-1, ""))
        digest = hashlib.md5(part, usedforsecurity=False).hexdigest()
        return etag if (size, etag.strip('"')) == (len(part), digest) else None

    def _write(self, data: bytes) -> None:
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, 0)
                os.pwrite(self.descriptor, data, 0)


@contextlib.contextmanager
def remembered(bucket: Bucket, path: str, source: Path | bytes, expect: Digest | None) -> Iterator[Memory]:
    """Give the memory for the upload of *source* as *path*: empty, where there is none to use.

    There is one for a file whose digest is known, where its folder can be written and nobody else is at
    it. Raises botocore's errors.
    """
    if not isinstance(source, Path) or expect is None:
        yield Memory()
        return
    what = hashlib.sha256(json.dumps([bucket.location, path, expect.sha256]).encode()).hexdigest()
    file = source.with_name(f".{source.name}.upload-{what[:12]}")
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield Memory()
            return
        memory = Memory(descriptor=descriptor, upload_id=_read(descriptor))
        try:
            if memory.upload_id is not None:
                _ask(bucket, path, memory)
            yield memory
        finally:
            if not os.fstat(descriptor).st_size:
                file.unlink(missing_ok=True)


def _read(descriptor: int) -> str | None:
    try:
        found: Any = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        upload = found["upload"]
    except (ValueError, KeyError, TypeError):
        return None
    return upload if isinstance(upload, str) else None


def _ask(bucket: Bucket, path: str, memory: Memory) -> None:
    """Find out which parts the server has; where the upload is gone, nothing is remembered."""
    paginator = bucket.client().get_paginator("list_parts")
    try:
        for page in paginator.paginate(
            Bucket=bucket.options.bucket, Key=bucket.prefix + path, UploadId=memory.upload_id
        ):
            for part in page.get("Parts", ()):
                memory.parts[part["PartNumber"]] = part["Size"], part["ETag"]
    except ClientError as error:
        if problem_of(error) not in (Problem.NO_UPLOAD, Problem.MISSING):
            raise
        memory.upload_id = None
        memory.forget()
