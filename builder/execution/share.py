"""An object store between the caches of a build and its workers, for clusters without a shared folder.

Laid out like the cache, below one prefix of a bucket::

    wheels/<sha256[:2]>/<sha256>/<file name>    sdists/...    layers/<key[:2]>/<key>.bin and .json

Whatever comes from it is held against a digest: wheels and sdists against the caller's, layers against
their own facts. Who may write to it can therefore hand out other layers, as a worker can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from manifests.documents import Sha256
from manifests.errors import InvalidInput, StoreUnavailable

if TYPE_CHECKING:
    from builder.layers.cache import LayerCache
    from builder.wheels.cache import WheelCache
    from manifests.lock import LockedPackage

_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[A-Za-z0-9._/-]+)")


class Objects(Protocol):
    """Named objects, as much of them as a share needs."""

    label: str

    def has(self, name: str) -> bool:
        """Say whether *name* is there. Raises StoreUnavailable."""

    def upload(self, name: str, path: Path) -> None:
        """Store the file at *path* as *name*. Raises StoreUnavailable."""

    def download(self, name: str, path: Path) -> bool:
        """Write *name* to *path*; say whether it is there. Raises StoreUnavailable."""


class Share:
    """Moves single entries between a cache and *objects*. What is there is not moved again."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.label = objects.label

    def has_layer(self, key: Sha256) -> bool:
        """Say whether a layer is there, facts and all."""
        return self._objects.has(f"layers/{key[:2]}/{key}.json")

    def put_layer(self, cache: LayerCache, key: Sha256) -> None:
        """Store a layer: its bytes first, so that whoever sees its facts finds both."""
        blob, facts = cache.files(key)
        for path in (blob, facts):
            self._put(f"layers/{key[:2]}/{path.name}", path)

    def get_layer(self, cache: LayerCache, key: Sha256) -> bool:
        """Bring a layer into *cache*; say whether it is there. Raises VerificationFailed."""

        def fetch(blob: Path, facts: Path) -> bool:
            stem = f"layers/{key[:2]}/{key}"
            return all(
                self._objects.download(f"{stem}{end}", path)
                for path, end in ((facts, ".json"), (blob, ".bin"))
            )

        return cache.adopt(key, fetch)

    def put_wheel(self, path: Path, sha256: Sha256) -> None:
        """Store the wheel at *path*."""
        self._put(f"wheels/{sha256[:2]}/{sha256}/{path.name}", path)

    def get_wheel(self, cache: WheelCache, sha256: Sha256, name: str) -> Path | None:
        """Bring a wheel into *cache* and return its path; None where it is not there."""
        with cache.temporary_folder() as folder:
            path = folder / name
            if not self._objects.download(f"wheels/{sha256[:2]}/{sha256}/{name}", path):
                return None
            return cache.add(path, name=name, sha256=sha256, origin=self.label).path

    def put_sdist(self, cache: WheelCache, package: LockedPackage) -> None:
        """Store the sdist or archive of *package*, if *cache* has it."""
        locked = package.sdist or package.archive
        if locked is not None and (path := cache.get_sdist(locked.sha256, locked.name, size=locked.size)):
            self._put(f"sdists/{locked.sha256[:2]}/{locked.sha256}/{locked.name}", path)

    def get_sdist(self, cache: WheelCache, package: LockedPackage) -> None:
        """Bring the sdist or archive of *package* into *cache*, if it is there; else it is downloaded."""
        locked = package.sdist or package.archive
        if locked is None or cache.get_sdist(locked.sha256, locked.name, size=locked.size) is not None:
            return
        with cache.temporary_folder() as folder:
            path = folder / locked.name
            if self._objects.download(f"sdists/{locked.sha256[:2]}/{locked.sha256}/{locked.name}", path):
                cache.add_sdist(path, name=locked.name, sha256=locked.sha256, origin=self.label)

    def _put(self, name: str, path: Path) -> None:
        if not self._objects.has(name):
            self._objects.upload(name, path)


@lru_cache(maxsize=4)
def open_share(location: str) -> Share:
    """Return the share at *location*, ``s3://bucket/prefix``; nothing else knows how it is spelt.

    Endpoint and credentials come from the environment and files that boto3 knows, on each machine its
    own: they never travel. Raises InvalidInput.
    """
    match = _PLACE.fullmatch(location)
    if match is None or ".." in location:
        raise InvalidInput(f"--share {location!r} is not an object store; one looks like s3://bucket/prefix")
    return Share(_Bucket(match["bucket"], match["prefix"].strip("/"), location))


class _Bucket:
    def __init__(self, bucket: str, prefix: str, label: str) -> None:
        self.label = label
        self._prefix = prefix
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=32)
        self._bucket: Any = boto3.session.Session().resource("s3", config=config).Bucket(bucket)

    def has(self, name: str) -> bool:
        with self._failures(name) as missing:
            self._bucket.Object(self._key(name)).load()
        return not missing

    def upload(self, name: str, path: Path) -> None:
        with self._failures(name) as missing:
            self._bucket.upload_file(str(path), self._key(name))
        if missing:
            raise StoreUnavailable(f"{self.label}: there is no such bucket")

    def download(self, name: str, path: Path) -> bool:
        with self._failures(name) as missing:
            self._bucket.download_file(self._key(name), str(path))
        return not missing

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @contextmanager
    def _failures(self, name: str) -> Iterator[list[str]]:
        """Give a list that holds *name* afterwards if the object is missing. Raises StoreUnavailable."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        missing: list[str] = []
        try:
            yield missing
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey", "NoSuchBucket"):
                raise StoreUnavailable(f"{self.label}: {name} cannot be moved: {error}") from error
            missing.append(name)
        except (BotoCoreError, Boto3Error) as error:
            raise StoreUnavailable(f"{self.label}: {name} cannot be moved: {error}") from error
        except OSError as error:
            raise StoreUnavailable(f"{self.label}: {name} cannot be moved: {error.strerror}") from error


if TYPE_CHECKING:
    _: type[Objects] = _Bucket
