"""A store in a bucket of S3: of AWS, Ceph's gateway, Swift's s3api, MinIO and their like."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from distributor.stores.copying import checked_chunks
from distributor.stores.interface import object_parts
from distributor.stores.s3.client import HIDDEN, Bucket
from distributor.stores.s3.errors import translated
from distributor.stores.s3.lock import CLAIMS, server_time
from distributor.stores.s3.reading import head, read_range, read_whole
from distributor.stores.s3.resuming import remembered
from distributor.stores.s3.upload import in_parts, upload
from distributor.stores.s3.writing import PROBES, writer_for
from manifests.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributor.stores.interface import Digest, Store
    from distributor.stores.s3.options import S3Options

LEFTOVER_AGE = timedelta(days=1)
_MAX_KEY_BYTES = 1024


class S3Store:
    """The store that *options* describe. Nothing is asked of the server before it is used."""

    def __init__(self, options: S3Options) -> None:
        self._bucket = Bucket(options)
        self.location = options.location

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole object; see ReadStore."""
        with self._object(path):
            return read_whole(self._bucket, path, limit=limit)[0]

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        """Yield one byte range, resumed where the connection breaks; see ReadStore."""
        with self._object(path):
            yield from read_range(self._bucket, path, offset=offset, length=length)

    def size(self, path: str) -> int | None:
        """Return the object's length or None; see WriteStore."""
        with self._object(path):
            found = head(self._bucket, path)
        return None if found is None else int(found["ContentLength"])

    def write_if_absent(
        self,
        path: str,
        source: Path | bytes,
        *,
        expect: Digest | None = None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Add an object unless one is there; see WriteStore. What is large goes in parts, side by side."""
        with self._object(path):
            # Nothing large is sent, and no file read, for an object that is there.
            if head(self._bucket, path) is not None:
                return False
            # The last of the parts comes only if all bytes were the expected ones.
            parts = in_parts(checked_chunks(source, expect, moved))
            first = next(parts)
            second = next(parts, None)
            writer = writer_for(self._bucket)
            if not second and len(first) <= writer.single_limit:
                return writer.put_absent(path, first)
            every = itertools.chain([first, second or b""], parts)
            del first, second  # they are large, and soon sent
            with remembered(self._bucket, path, source, expect) as memory:
                return upload(self._bucket, path, every, writer.complete_absent, memory)

    def read_versioned(self, path: str, *, limit: int) -> tuple[bytes, str] | None:
        """Return the object and its ETag; see WriteStore. Raises NotFound where there is no bucket."""
        with self._object(path):
            try:
                return read_whole(self._bucket, path, limit=limit)
            except NotFound:
                return None

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        """Compare and swap; see WriteStore."""
        with self._object(path):
            writer = writer_for(self._bucket)
            if version is None:
                return writer.put_absent(path, data)
            return writer.replace(path, data, version)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths that begin with *prefix*; see ListStore."""
        folder = prefix.rpartition("/")[0]
        if folder:
            object_parts(folder)
        with translated(self._bucket, prefix):
            for page in self._bucket.pages("list_objects_v2", prefix):
                for entry in page.get("Contents", ()):
                    path = entry["Key"][len(self._bucket.prefix) :]
                    if _is_object(path):
                        yield path

    def delete(self, path: str) -> None:
        """Remove an object; see PruneStore."""
        with self._object(path):
            self._bucket.call("delete_object", path)

    def sweep(self) -> int:
        """Abort uploads, and remove claims and probes, of a day ago and more; see PruneStore."""
        swept = 0
        with translated(self._bucket, ""):
            for page in self._bucket.pages("list_multipart_uploads", ""):
                for entry in _leftovers(page, "Uploads", "Initiated"):
                    path = entry["Key"][len(self._bucket.prefix) :]
                    if _is_object(path) or path.startswith(HIDDEN):
                        self._bucket.call("abort_multipart_upload", path, UploadId=entry["UploadId"])
                        swept += 1
            for prefix in (CLAIMS, PROBES):
                for page in self._bucket.pages("list_objects_v2", prefix):
                    for entry in _leftovers(page, "Contents", "LastModified"):
                        self._bucket.call("delete_object", entry["Key"][len(self._bucket.prefix) :])
                        swept += 1
        return swept

    def presign(self, path: str, *, seconds: int) -> str:
        """Return a URL by which anybody can read this one object for so many *seconds*.

        It holds a signature: it is for whom it is given to, never for logs.
        """
        with self._object(path):
            url: str = self._bucket.client().generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket.options.bucket, "Key": self._bucket.prefix + path},
                ExpiresIn=seconds,
            )
        return url

    @contextlib.contextmanager
    def _object(self, path: str) -> Iterator[None]:
        """Check that *path* can be an object's, and translate what botocore raises."""
        object_parts(path)
        if len((self._bucket.prefix + path).encode()) > _MAX_KEY_BYTES:
            raise InvalidInput(f"object path: S3 allows {_MAX_KEY_BYTES} bytes, too few for {path!r}")
        with translated(self._bucket, path):
            yield


def _is_object(path: str) -> bool:
    """Say whether a key of the bucket is an object of the store: others may lie there too."""
    try:
        object_parts(path)
    except InvalidInput:
        return False
    return True


def _leftovers(page: dict[str, Any], key: str, dated: str) -> Iterator[dict[str, Any]]:
    now = server_time(page)
    return (entry for entry in page.get(key, ()) if now - entry[dated] > LEFTOVER_AGE)


if TYPE_CHECKING:
    _: type[Store] = S3Store
