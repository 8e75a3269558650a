"""Where wheels come from: folders, find-links pages, package indexes, and the lock's own URLs.

Sources are read-only and tried in order. What the lock names must have the lock's sha256 wherever it
was found, so a source needs no trust.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from builder.wheels.cache import Content
from builder.wheels.download import Downloads, shown_url
from builder.wheels.pages import (
    ACCEPT,
    Link,
    best_wheel,
    is_offer,
    locked_sdist,
    locked_wheel,
    read_page,
)
from manifests.errors import InvalidInput, NotFound, StoreUnavailable
from manifests.urls import redacted, web_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests.lock import LockedFile, LockedPackage
    from manifests.target import Target

_T = TypeVar("_T")
Take = Callable[[Content], _T]

MAX_FILE_BYTES = 4 * 1024**3
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that a source offers for a locked package.

    ``sha256`` is the lock's digest for it; None (``pinned`` is False) where the lock names only
    what the wheel is built from. ``limit`` bounds the bytes read.
    """

    name: str
    location: str
    sha256: str | None
    limit: int = MAX_FILE_BYTES

    @property
    def pinned(self) -> bool:
        """Say whether the lock names this very file."""
        return self.sha256 is not None


class WheelSource(Protocol):
    """One place that offers files."""

    @property
    def label(self) -> str:
        """What messages call it; holds no credentials."""

    @property
    def needs_network(self) -> bool:
        """Say whether an offline build must leave it alone."""

    def find(self, package: LockedPackage, target: Target) -> Candidate | None:
        """Return the wheel to use for *package*. Raises StoreUnavailable, NotFound."""

    def find_sdist(self, package: LockedPackage) -> Candidate | None:
        """Return the sdist or archive that *package* is built from. Raises StoreUnavailable, NotFound."""

    def fetch(self, candidate: Candidate, take: Take[_T]) -> _T:
        """Hand the candidate's content to *take*, again from its start where a transfer breaks."""


class DirectorySource:
    """A folder of wheels, or of folders of wheels; listed once, when it is opened."""

    needs_network = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.label = str(path)
        try:
            self._links = _list_folder(path)
        except FileNotFoundError:
            raise NotFound(f"{path}: no such directory of wheels") from None
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be listed: {error.strerror}") from None

    def find(self, package: LockedPackage, target: Target) -> Candidate | None:
        """Return the wheel to use for *package*, or None."""
        return _choose(package, target, self._links)

    def find_sdist(self, package: LockedPackage) -> Candidate | None:
        """Return the sdist that *package* is built from, or None."""
        return _named(locked_sdist(package), self._links)

    def fetch(self, candidate: Candidate, take: Take[_T]) -> _T:
        """Hand the file's path to *take*."""
        return take(Path(candidate.location))


class _WebSource:
    needs_network = True

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads

    def fetch(self, candidate: Candidate, take: Take[_T]) -> _T:
        """Download the candidate. Raises NotFound, StoreUnavailable, VerificationFailed."""
        return self._downloads.fetch(candidate.location, take, limit=candidate.limit)


class FindLinksSource(_WebSource):
    """One HTML page of links to files, as ``pip --find-links`` reads it; fetched once, when first asked."""

    def __init__(self, url: str, downloads: Downloads) -> None:
        super().__init__(downloads)
        self._url = web_url(url)
        self.label = shown_url(url)
        self._lock = threading.Lock()
        self._outcome: Mapping[str, Link] | NotFound | StoreUnavailable | None = None

    def find(self, package: LockedPackage, target: Target) -> Candidate | None:
        """Return the wheel to use for *package*, or None. Raises StoreUnavailable, NotFound."""
        return _choose(package, target, self._links())

    def find_sdist(self, package: LockedPackage) -> Candidate | None:
        """Return the sdist that *package* is built from, or None. Raises StoreUnavailable, NotFound."""
        return _named(locked_sdist(package), self._links())

    def _links(self) -> Mapping[str, Link]:
        with self._lock:
            if self._outcome is None:
                self._outcome = self._load()
        # A failure is kept too: a hundred packages must not ask a dead page a hundred times.
        if isinstance(self._outcome, NotFound):
            raise NotFound(str(self._outcome))
        if isinstance(self._outcome, StoreUnavailable):
            raise StoreUnavailable(str(self._outcome))
        return self._outcome

    def _load(self) -> Mapping[str, Link] | NotFound | StoreUnavailable:
        try:
            page = self._downloads.page(self._url, accept="text/html, */*;q=0.1")
            return read_page(page) if page is not None else NotFound(f"{self.label}: no such page of links")
        except StoreUnavailable as error:
            return error


class IndexSource(_WebSource):
    """A package index (PEP 691 JSON, or PEP 503 HTML); one page for each package, asked when needed."""

    def __init__(self, url: str, downloads: Downloads) -> None:
        super().__init__(downloads)
        self._url = web_url(url).rstrip("/")
        self.label = shown_url(url)

    def find(self, package: LockedPackage, target: Target) -> Candidate | None:
        """Return the wheel to use for *package*, or None. Raises StoreUnavailable."""
        return _choose(package, target, self._links(package.name))

    def find_sdist(self, package: LockedPackage) -> Candidate | None:
        """Return the sdist that *package* is built from, or None. Raises StoreUnavailable."""
        return _named(locked_sdist(package), self._links(package.name))

    def _links(self, project: str) -> Mapping[str, Link]:
        page = self._downloads.page(f"{self._url}/{project}/", accept=ACCEPT)
        return {} if page is None else read_page(page)


class LockSource(_WebSource):
    """The URLs that the lock itself names; the last resort."""

    label = "the lock's URLs"

    def find(self, package: LockedPackage, target: Target) -> Candidate | None:
        """Return the lock's own wheel for *package*, or None where it names none."""
        return _at_its_url(locked_wheel(package))

    def find_sdist(self, package: LockedPackage) -> Candidate | None:
        """Return the lock's own sdist or archive for *package*, or None."""
        return _at_its_url(locked_sdist(package))


def open_source(location: str, downloads: Downloads | None = None) -> WheelSource:
    """Return the source at *location*; nothing else knows how locations are spelt.

    A path or ``file:`` URL is a folder. An http(s) URL that ends in ``/simple`` is an index, any
    other a find-links page; ``index+https://`` and ``find-links+https://`` say which. Sources of
    one build share *downloads*. Raises InvalidInput, and NotFound where a folder is missing.
    """
    if not _SCHEME.match(location):
        return DirectorySource(Path(location))
    kind, plus, rest = location.partition("+")
    url = rest if plus and kind in ("index", "find-links") else location
    parts = urlsplit(url)
    if parts.scheme == "file" and url == location:
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InvalidInput(f"{location!r}: a file: URL names an absolute path, file:///srv/wheels")
        return DirectorySource(Path(unquote(parts.path)))
    if parts.scheme not in ("http", "https"):
        raise InvalidInput(
            f"{redacted(location)!r} is not a source of wheels; use a folder, a file: or http(s) URL, "
            "or index+https://... and find-links+https://..."
        )
    downloads = downloads or Downloads()
    is_index = parts.path.rstrip("/").endswith("/simple") if url == location else kind == "index"
    return IndexSource(url, downloads) if is_index else FindLinksSource(url, downloads)


def absolute_location(location: str) -> str:
    """Return *location* so that it means the same in whatever folder it is opened."""
    return location if _SCHEME.match(location) else str(Path(location).absolute())


def _choose(package: LockedPackage, target: Target, links: Mapping[str, Link]) -> Candidate | None:
    if (locked := locked_wheel(package)) is not None:
        return _named(locked, links)
    link = best_wheel(package, target, links)
    return None if link is None else Candidate(name=link.name, location=link.location, sha256=None)


def _named(locked: LockedFile | None, links: Mapping[str, Link]) -> Candidate | None:
    if locked is None or (link := links.get(locked.name)) is None:
        return None
    return _candidate(locked, link.location)


def _at_its_url(locked: LockedFile | None) -> Candidate | None:
    return None if locked is None or not locked.url else _candidate(locked, locked.url)


def _candidate(locked: LockedFile, location: str) -> Candidate:
    limit = MAX_FILE_BYTES if locked.size is None else locked.size
    return Candidate(name=locked.name, location=location, sha256=locked.sha256, limit=limit)


def _list_folder(path: Path) -> dict[str, Link]:
    links: dict[str, Link] = {}
    folders: list[str] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_offer(entry.name) and entry.is_file():
                links[entry.name] = Link(name=entry.name, location=entry.path)
            elif not entry.name.startswith(".") and entry.is_dir():
                folders.append(entry.path)
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names only
        except PermissionError:
            continue  # not ours to read: lost+found and the like
        for name in filter(is_offer, names):
            # A file beside the folders wins over one of the same name in them.
            links.setdefault(name, Link(name=name, location=f"{folder}/{name}"))
    return links


if TYPE_CHECKING:
    _: list[type[WheelSource]] = [DirectorySource, FindLinksSource, IndexSource, LockSource]
