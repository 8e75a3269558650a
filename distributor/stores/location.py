"""From a location to a store. Nothing else knows URL schemes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from distributor.stores.directory import DirectoryStore
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from distributor.stores.interface import Store

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")


def open_store(location: str) -> Store:
    """Return the store at *location*: ``file:///absolute``, ``file:relative`` or a plain path.

    Nothing is read or written yet. Raises InvalidInput, without repeating secrets of the location.
    """
    if not location:
        raise InvalidInput("no store is named: give --store, or set VENVOY_STORE")
    if _USERINFO.match(location):
        raise InvalidInput(
            "the store's URL holds a user name or password; keep credentials out of URLs "
            "(they end up in logs), and give them by a netrc or credentials file"
        )
    match = _SCHEME.match(location)
    if match is None:
        return DirectoryStore(Path(location))
    scheme = match[1].lower()
    if scheme == "file":
        return DirectoryStore(_file_path(location[match.end() :]))
    # Further backends are chosen here, each imported only when its scheme is named.
    if scheme in ("http", "https", "s3"):
        raise InvalidInput(f"stores at {scheme}: are not supported by this version; use a directory or file:")
    raise InvalidInput(f"{scheme}: is no kind of store; use file:, or ./{scheme}:... for a path")


def _file_path(rest: str) -> Path:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise InvalidInput("a file: store lies on this machine: write file:///absolute/path")
        rest = f"/{path}"
    path = unquote(rest)
    if not path or "\0" in path:
        raise InvalidInput("a file: store needs a path, as in file:///srv/venvoy")
    return Path(path)
