"""What a service built, brought here: each file is checked before its name shows it."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from manifests.atomic_file import sync_directory, temporary_name
from manifests.documents import sha256_file
from manifests.errors import StoreUnavailable, VerificationFailed
from manifests.naming import safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.remote.connection import Connection

_CHUNK = 1024 * 1024


def fetch_files(
    connection: Connection, build: dict[str, Any], output: Path, progress: Callable[[int, int, str], None]
) -> None:
    """Bring the files of *build* into *output*; those that lie there already are left alone.

    Raises VerificationFailed for other bytes than the service promised, NotFound for what it no longer
    has, StoreUnavailable where disk or network fail.
    """
    files = build["files"]
    for number, file in enumerate(files, 1):
        name = safe_relative_path(str(file["path"]), what="the service's file")
        path = output / name
        try:
            if not _is_there(path, file):
                path.parent.mkdir(parents=True, exist_ok=True)
                _fetch(connection, f"/api/v1/builds/{build['id']}/files/{quote(name)}", file, path)
        except OSError as error:
            raise StoreUnavailable(f"cannot write {path}: {error.strerror or error}") from error
        progress(number, len(files), path.name)


def _is_there(path: Path, file: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == file["length"] and sha256_file(path) == file["sha256"]


def _fetch(connection: Connection, url: str, file: dict[str, Any], path: Path) -> None:
    import requests

    temporary = path.with_name(temporary_name())
    digest = hashlib.sha256()
    length = 0
    answer = connection.stream(url, {"Accept-Encoding": "identity"})
    try:
        with temporary.open("xb") as stream:
            for chunk in answer.iter_content(_CHUNK):
                length += len(chunk)
                if length > file["length"]:
                    break
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if (length, digest.hexdigest()) != (file["length"], file["sha256"]):
            raise VerificationFailed(f"{connection.url}: {path.name} is not what the service says it built")
        temporary.replace(path)
        sync_directory(path.parent)
    except requests.exceptions.RequestException as error:
        raise StoreUnavailable(f"{connection.url}: {path.name} broke off; run the command again") from error
    finally:
        answer.close()
        temporary.unlink(missing_ok=True)
