"""From a location to a store. Nothing else knows URL schemes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from distributor.stores.directory import DirectoryStore
from manifests.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributor.stores.http.store import HttpStore
    from distributor.stores.interface import ReadStore, Store
    from distributor.stores.rate_limit import RateLimit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")
_WEB = ("http", "https")


def open_store(location: str) -> ReadStore:
    """Return the store at *location*, to read from it.

    ``file:///absolute``, ``file:relative``, a plain path, ``https://host/folder``, ``s3://bucket/prefix``.
    Nothing is read yet. Raises InvalidInput, without repeating secrets of the location; NotFound or
    Refused for files that the backend's settings name.
    """
    scheme, _ = _split(location)
    return _open_web_store(location) if scheme in _WEB else open_writable_store(location)


def open_writable_store(location: str) -> Store:
    """Return the store at *location*, to change it.

    Raises Refused where it can be read only, else as ``open_store`` does.
    """
    scheme, rest = _split(location)
    if not scheme:
        return DirectoryStore(Path(location))
    if scheme == "file":
        return DirectoryStore(_file_path(rest))
    # Backends are imported only when their scheme is named: hosts pay for none that they do not use.
    if scheme == "s3":
        from distributor.stores.s3.opening import open_s3_store

        return open_s3_store(location)
    if scheme in _WEB:
        shown = location.partition("?")[0].partition("#")[0]
        raise Refused(f"{shown} is read-only: publish to the directory or bucket behind it")
    raise InvalidInput(
        f"{scheme}: is no kind of store; use file:, https: or s3:, or ./{scheme}:... for a path"
    )


def open_mirrors(
    locations: Sequence[str],
    *,
    report: Callable[[str, str], None] = lambda location, why: None,
    limit: RateLimit | None = None,
) -> ReadStore:
    """Return the mirrors at *locations*, in their order, as one store; or the one store that is named.

    *report* is told once of each mirror that is passed over: its location, and why. *limit* bounds the
    bytes per second of all together. Raises as ``open_store`` does.
    """
    from distributor.stores.rate_limit import RateLimited

    stores: dict[str, ReadStore] = {}
    for location in locations or ("",):
        store = open_store(location)
        stores.setdefault(store.location, store if limit is None else RateLimited(store, limit))
    if len(stores) == 1:
        return next(iter(stores.values()))
    from distributor.stores.mirrors import MirroredStore

    return MirroredStore(list(stores.values()), report)


def _split(location: str) -> tuple[str, str]:
    """Return the scheme of *location* in lower case, "" for a plain path, and what comes behind it."""
    if not location:
        raise InvalidInput("no store is named: give --store, or set VENVOY_STORE")
    if _USERINFO.match(location):
        raise InvalidInput(
            "the store's URL holds a user name or password; keep credentials out of URLs "
            "(they end up in logs), and give them by a netrc or credentials file"
        )
    match = _SCHEME.match(location)
    return ("", location) if match is None else (match[1].lower(), location[match.end() :])


def _open_web_store(location: str) -> HttpStore:
    try:
        from distributor.stores.http.store import HttpStore
    except ModuleNotFoundError as error:
        if error.name not in ("requests", "urllib3"):
            raise
        raise InvalidInput(
            f"stores at http: and https: need {error.name}; install it: pip install 'venvoy[http]'"
        ) from None
    return HttpStore(location)


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
