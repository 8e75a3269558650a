"""What pages and folders offer: links to files, and which of them a locked package may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.wheels.download import shown_url
from manifests.documents import parse_json
from manifests.errors import InvalidInput, StoreUnavailable
from manifests.urls import web_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.tags import Tag

    from builder.wheels.download import Page
    from manifests.lock import LockedFile, LockedPackage
    from manifests.target import Target

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*")
FILE_ENDS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


@dataclass(frozen=True, kw_only=True)
class Link:
    """A file that a source offers. Digests on pages are not read: the lock's is the one that counts."""

    name: str
    location: str
    size: int | None = None
    yanked: bool = False


def is_offer(name: str) -> bool:
    """Say whether *name* can be a wheel's or sdist's file name."""
    return name.endswith(FILE_ENDS) and _FILE_NAME.fullmatch(name) is not None


def read_page(page: Page) -> dict[str, Link]:
    """Return the files that an index page (PEP 691 or 503) or any other HTML page links to.

    Links of other schemes than http and https, or with credentials, are passed over. The first of
    two links with one name stands. Raises StoreUnavailable where the page is not what it claims.
    """
    found: dict[str, Link] = {}
    for link in _read_json(page) if page.media_type == JSON else _read_html(page):
        if is_offer(link.name) and _is_usable(link.location):
            found.setdefault(link.name, link)
    return found


def locked_wheel(package: LockedPackage) -> LockedFile | None:
    """Return the wheel that the lock names for *package*: its best one, or an archive that is one."""
    if package.wheels:
        return package.wheels[0]
    archive = package.archive
    return archive if archive is not None and archive.name.endswith(".whl") else None


def locked_sdist(package: LockedPackage) -> LockedFile | None:
    """Return the sdist or archive that *package* is built from, or None."""
    if package.sdist is not None:
        return package.sdist
    return None if package.archive is None or package.archive.name.endswith(".whl") else package.archive


def best_wheel(package: LockedPackage, target: Target, links: Mapping[str, Link]) -> Link | None:
    """Return the wheel among *links* of just *package*'s name and version that fits *target* best.

    For packages that the lock names no wheel for: best tag first, then the highest build number.
    None where the version is not known before the build.
    """
    if package.version is None:
        return None
    wanted = Version(package.version)
    best: tuple[tuple[int, tuple[int, str], str], Link] | None = None
    for link in links.values():
        if link.yanked or _project_of(link.name) != package.name:
            continue
        try:
            _, version, build, _ = parse_wheel_filename(link.name)
        except (InvalidWheelFilename, InvalidVersion):
            continue
        rank = tag_rank(link.name, target)
        if version != wanted or rank is None:
            continue
        number, suffix = build or (-1, "")
        key = (-rank, (number, suffix), link.name)
        if best is None or key > best[0]:
            best = key, link
    return None if best is None else best[1]


def tag_rank(name: str, target: Target) -> int | None:
    """Return how well the wheel *name* fits *target* (0 is best), or None where it does not.

    Raises InvalidWheelFilename where *name* is no wheel's.
    """
    ranks = _ranks(target)
    return min((ranks[tag] for tag in parse_wheel_filename(name)[3] if tag in ranks), default=None)


@lru_cache(maxsize=8)
def _ranks(target: Target) -> dict[Tag, int]:
    ranks: dict[Tag, int] = {}
    for rank, tag in enumerate(target.tags):
        ranks.setdefault(tag, rank)
    return ranks


def _project_of(name: str) -> str:
    return canonicalize_name(name.partition("-")[0]) if name.endswith(".whl") else ""


def _is_usable(url: str) -> bool:
    try:
        web_url(url)
    except InvalidInput:
        return False
    return True


def _read_json(page: Page) -> Iterable[Link]:
    try:
        files = parse_json(page.body, what="its JSON")["files"]
        return [
            Link(
                name=item["filename"],
                location=urljoin(page.url, item["url"]).partition("#")[0],
                size=item.get("size"),
                yanked=bool(item.get("yanked")),  # true, or the reason
            )
            for item in files
        ]
    except (InvalidInput, LookupError, TypeError, AttributeError, ValueError) as error:
        raise StoreUnavailable(
            f"{shown_url(page.url)} is not a valid index page ({error}); is it an index (PEP 691)?"
        ) from None


def _read_html(page: Page) -> Iterable[Link]:
    parser = _Anchors(page.url)
    parser.feed(page.body.decode("utf-8", "replace"))
    parser.close()
    return parser.links


class _Anchors(HTMLParser):
    """Collects what ``<a href>`` points to; the first ``<base href>`` moves relative ones."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.links: list[Link] = []
        self._base = url
        self._based = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if href is None:
            return
        try:
            url = urljoin(self._base, href.strip())
            name = unquote(urlsplit(url).path.rpartition("/")[2])
        except ValueError:
            return  # an impossible port or address; other links may be good
        if tag == "base" and not self._based:
            self._base, self._based = url, True
        elif tag == "a":
            plain = url.partition("#")[0]
            self.links.append(Link(name=name, location=plain, yanked="data-yanked" in values))
