"""One package of a lock: the files that fit a target, or the commit or archive to build it from.

Refused here, by name, is what no other machine could fetch or check: local paths, editables, files
without sha256, URLs with credentials, packages of which nothing fits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.tags import parse_tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from manifests.documents import Sha256
from manifests.errors import InvalidInput
from manifests.naming import safe_relative_path
from manifests.urls import web_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.pylock import Package, PackageArchive, PackageSdist, PackageVcs, PackageWheel
    from packaging.tags import Tag

    from manifests.target import Target

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*")
_SHOWN_TAGS = 6


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A wheel, sdist or archive: its file name, where it lies, and what its bytes must be."""

    name: str
    url: str
    size: int | None
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class LockedVcs:
    """One commit of a git repository; ``subdirectory`` is where the project lies in it."""

    url: str
    commit: str
    subdirectory: str | None


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One distribution. ``wheels`` are those that fit the target, best first.

    Without one, it is built from ``sdist``, ``vcs`` or ``archive``. The version may be unknown
    (None) for the latter two until they are built.
    """

    name: str
    version: str | None
    wheels: tuple[LockedFile, ...] = ()
    sdist: LockedFile | None = None
    vcs: LockedVcs | None = None
    archive: LockedFile | None = None

    @property
    def label(self) -> str:
        """The version; where it is unknown, a PEP 440 version made of the commit or digest."""
        if self.version is not None:
            return self.version
        if self.vcs is not None:
            return f"0+git.{self.vcs.commit[:12]}"
        return f"0+sha256.{self.archive.sha256[:12]}" if self.archive is not None else "0"


def locked_package(package: Package, target: Target) -> LockedPackage:
    """Return what *package*, an entry of a valid lock, means on *target*.

    Raises InvalidInput saying why it cannot be used there, without the package's name.
    """
    if package.directory is not None:
        kind = "an editable checkout" if package.directory.editable else "a local directory"
        raise InvalidInput(f"is {kind} ({package.directory.path}); lock a release or a git commit instead")
    if package.index is not None:
        web_url(package.index)
    version = None if package.version is None else str(package.version)
    if package.vcs is not None:
        return LockedPackage(name=package.name, version=version, vcs=_vcs(package.vcs))
    if package.archive is not None:
        return _archived(package.name, version, package.archive, target)
    wheels = _fitting(package.wheels or (), target)
    sdist = None if package.sdist is None else _file(package.sdist, package.sdist.filename, "sdist")
    if not wheels and sdist is None:
        raise InvalidInput(_no_fit([wheel.filename for wheel in package.wheels or ()], target))
    return LockedPackage(name=package.name, version=version, wheels=wheels, sdist=sdist)


def _archived(name: str, version: str | None, archive: PackageArchive, target: Target) -> LockedPackage:
    if archive.subdirectory is not None:
        raise InvalidInput(
            "is a subdirectory of an archive, which is not supported; lock a git commit instead"
        )
    file = _file(archive, unquote(urlsplit(archive.url or "").path.rpartition("/")[2]), "archive")
    if file.name.endswith(".whl"):
        try:
            parsed = parse_wheel_filename(file.name)[1]
        except InvalidWheelFilename as error:
            raise InvalidInput(f"archive: {error}") from None
        if _rank(_tag_text(file.name), target) is None:
            raise InvalidInput(_no_fit([file.name], target))
        return LockedPackage(name=name, version=version or str(parsed), archive=file)
    try:
        version = version or str(parse_sdist_filename(file.name)[1])
    except InvalidSdistFilename:  # such as the tarball of a branch: known when it is built
        version = None
    return LockedPackage(name=name, version=version, archive=file)


def _fitting(wheels: Sequence[PackageWheel], target: Target) -> tuple[LockedFile, ...]:
    found: list[tuple[tuple[int, int, str, str], LockedFile]] = []
    for index, wheel in enumerate(wheels):
        name = wheel.filename
        file = _file(wheel, name, f"wheels[{index}]")
        rank = _rank(_tag_text(name), target)
        if rank is not None:
            # Among wheels of one rank the highest build number is the best.
            parts = name.split("-")  # six of them where there is a build number
            number, rest = (parse_wheel_filename(name)[2] if len(parts) == 6 else ()) or (-1, "")
            found.append(((rank, -number, rest, name), file))
    return tuple(file for _, file in sorted(found, key=lambda item: item[0]))


def _tag_text(wheel: str) -> str:
    return "-".join(wheel.removesuffix(".whl").rsplit("-", 3)[1:])


@lru_cache(maxsize=4096)
def _rank(tag_text: str, target: Target) -> int | None:
    ranks = _ranks(target)
    return min((ranks[tag] for tag in parse_tag(tag_text) if tag in ranks), default=None)


@lru_cache(maxsize=8)
def _ranks(target: Target) -> dict[Tag, int]:
    return {tag: rank for rank, tag in reversed(list(enumerate(target.tags)))}


def _no_fit(names: list[str], target: Target) -> str:
    tags = [_tag_text(name) for name in names]
    more = f" and {len(tags) - _SHOWN_TAGS} more" if len(tags) > _SHOWN_TAGS else ""
    shown = ", ".join(tags[:_SHOWN_TAGS]) + more
    return (
        f"no wheel fits {target}, and there is no sdist to build one from; wheels are for: {shown}; "
        "lock it again, constrained to a version that fits"
    )


def _file(item: PackageWheel | PackageSdist | PackageArchive, name: str, where: str) -> LockedFile:
    url = item.url or ""
    if item.path is not None or url.startswith("file:"):
        raise InvalidInput(
            f"{where} is the local path {item.path or url!r}; lock it from an index or URL instead"
        )
    digest = item.hashes.get("sha256", "").lower()
    if not _SHA256.fullmatch(digest):
        raise InvalidInput(f"{where} has no sha256; lock it from an index that gives one")
    if not _FILE_NAME.fullmatch(name):
        raise InvalidInput(f"{where}: {name!r} cannot be a file name")
    if item.size is not None and item.size < 0:
        raise InvalidInput(f"{where}: the size {item.size} is negative")
    return LockedFile(name=name, url=web_url(url), size=item.size, sha256=Sha256(digest))


def _vcs(vcs: PackageVcs) -> LockedVcs:
    if vcs.path is not None:
        raise InvalidInput(f"vcs is the local path {vcs.path!r}; lock it from an http(s) URL instead")
    if vcs.type != "git":
        raise InvalidInput(f"vcs is {vcs.type!r}; only git is supported")
    if not _COMMIT.fullmatch(vcs.commit_id):
        raise InvalidInput(f"vcs: {vcs.commit_id!r} is not a full git commit")
    if vcs.subdirectory is not None:
        safe_relative_path(vcs.subdirectory, what="vcs.subdirectory")
    return LockedVcs(url=web_url(vcs.url or ""), commit=vcs.commit_id, subdirectory=vcs.subdirectory)
