"""Bringing bytes to a bucket in parts: hashed while read, sent side by side, invisible until completed."""

from __future__ import annotations

import contextlib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from distributor.stores.media_types import media_type
from distributor.stores.s3.errors import is_final
from distributor.stores.s3.resuming import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from distributor.stores.s3.client import Bucket

# At most THREADS parts are on their way and one is read: some 50 MB, whatever the object's size.
PART_SIZE = 8 * 1024 * 1024
_THREADS = 4
# What a later run may go on after.
_INTERRUPTIONS = (ClientError, BotoCoreError, OSError, KeyboardInterrupt)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """All parts of an object that is not visible yet."""

    path: str
    upload_id: str
    parts: tuple[dict[str, Any], ...]

    def arguments(self) -> dict[str, Any]:
        """Return what completing it takes."""
        return {"UploadId": self.upload_id, "MultipartUpload": {"Parts": list(self.parts)}}


def in_parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of *chunks* in pieces of PART_SIZE, the last of which is shorter, or empty."""
    part: list[bytes] = []
    length = 0
    for chunk in chunks:
        # Chunks are joined once, and let go: copies of parts are what takes memory here.
        room = PART_SIZE - length
        part.append(chunk[:room])
        length += len(part[-1])
        if length == PART_SIZE:
            whole = b"".join(part)
            part.clear()
            yield whole
            del whole
            part.append(chunk[room:])
            length = len(part[-1])
    yield b"".join(part)


def upload(
    bucket: Bucket,
    path: str,
    parts: Iterable[bytes],
    complete: Callable[[Upload], bool],
    memory: Memory | None = None,
) -> bool:
    """Send *parts*, have *complete* make them visible or not, and return what it returns.

    What a broken connection or an interruption leaves is kept for the next run where there is a *memory*
    of it. Whatever else *parts* raises leaves nothing behind, but for what an abort that fails leaves to
    sweeping. Raises botocore's errors.
    """
    memory = memory or Memory()
    upload_id = memory.upload_id or _begin(bucket, path, memory)
    # Aborting what may have been completed (its answer was lost) is left alone: not every server
    # tells the two apart.
    unfinished = True
    try:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="s3-upload") as pool:
            try:
                sent = _send(bucket, path, upload_id, parts, pool, memory)
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                unfinished = not (memory.keeps and isinstance(error, _INTERRUPTIONS))
                raise
        unfinished = False
        try:
            done = complete(Upload(path=path, upload_id=upload_id, parts=sent))
        except ClientError as error:
            unfinished = is_final(error)
            raise
        unfinished = not done
        memory.forget()
        return done
    finally:
        if unfinished:
            memory.forget()
            with contextlib.suppress(ClientError, BotoCoreError, OSError):
                bucket.call("abort_multipart_upload", path, UploadId=upload_id)


def _begin(bucket: Bucket, path: str, memory: Memory) -> str:
    created = bucket.call("create_multipart_upload", path, ContentType=media_type(path))
    upload_id: str = created["UploadId"]
    memory.remember(upload_id)
    return upload_id


def _send(  # noqa: PLR0913, PLR0917 - one upload, its parts, and who sends them
    bucket: Bucket,
    path: str,
    upload_id: str,
    parts: Iterable[bytes],
    pool: ThreadPoolExecutor,
    memory: Memory,
) -> tuple[dict[str, Any], ...]:
    def send(number: int, part: bytes) -> dict[str, Any]:
        known = memory.has(number, part)
        if known is not None:
            return {"PartNumber": number, "ETag": known}
        answer = bucket.call("upload_part", path, UploadId=upload_id, PartNumber=number, Body=part)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    sent: list[dict[str, Any]] = []
    running: set[Future[dict[str, Any]]] = set()
    for number, part in enumerate(parts, 1):
        if number > 1 and not part:
            continue
        running.add(pool.submit(send, number, part))
        # Nothing further is read before there is a thread for it.
        while len(running) >= _THREADS:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            sent.extend(future.result() for future in done)
    sent.extend(future.result() for future in running)
    return tuple(sorted(sent, key=lambda part: int(part["PartNumber"])))
