"""Is this file a whole, honest wheel? Asked once, when the cache takes it in.

The library ``wheel`` checks every member against RECORD. What it does not look at is checked here
first, before a byte is inflated: names, types, sizes, and that file name and metadata agree.
"""

from __future__ import annotations

import csv
import os
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from wheel.wheelfile import WheelError, WheelFile

from manifests.errors import InvalidInput, VerificationFailed
from manifests.naming import safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packaging.utils import NormalizedName

MAX_MEMBERS = 500_000
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
_BASE_BYTES = 1024**3
_RATIO = 50
_CHUNK = 1024 * 1024
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What ``wheel`` and ``zipfile`` raise on bytes that are no wheel, found by feeding them damaged ones.
_FOREIGN = (
    WheelError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # NotImplementedError too
)


def check_wheel(path: Path, *, origin: str) -> None:
    """Check the wheel at *path*, whose folder belongs to the caller alone; *origin* is for errors.

    Raises VerificationFailed naming wheel and member: not a zip, a member that RECORD does not list
    with a digest or whose bytes differ, missing RECORD, WHEEL or METADATA, a member whose name is
    unsafe or stands twice, a symlink, more content than a wheel of that size may hold, a name or
    version that differs between file name, ``.dist-info`` and METADATA.
    """
    what = f"{path.name} from {origin}"
    try:
        name, version, *_ = parse_wheel_filename(path.name)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise VerificationFailed(f"{what}: not a wheel's file name: {error}") from None
    with _translated(what, "the archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    _check_members(members, path.stat().st_size, what)
    dist_info = _dist_info(members, name, version, what)
    with _named_after(path, dist_info) as alias, _open(alias, what) as wheel:
        _check_documents(wheel, dist_info, name, version, what)
        for member in members:
            if not member.is_dir():
                with _translated(what, repr(member.filename)):
                    _read_through(wheel, member)


@contextmanager
def _translated(what: str, member: str) -> Iterator[None]:
    try:
        yield
    except _FOREIGN as error:
        reason = str(error) or type(error).__name__
        raise VerificationFailed(
            f"{what}: {member} is damaged or was altered: {reason}; get the wheel again from its publisher"
        ) from None


@contextmanager
def _open(path: Path, what: str) -> Iterator[WheelFile]:
    with _translated(what, "RECORD"):
        wheel = WheelFile(path)
    with wheel:
        yield wheel


@contextmanager
def _named_after(path: Path, dist_info: str) -> Iterator[Path]:
    # WheelFile looks for the folder that the file's name spells; some wheels spell the two differently.
    stem = dist_info.removesuffix(".dist-info")
    if path.name.startswith(f"{stem}-"):
        yield path
        return
    alias = path.with_name(f"{stem}-py3-none-any.whl")
    os.link(path, alias)
    try:
        yield alias
    finally:
        alias.unlink()


def _check_members(members: list[zipfile.ZipInfo], size: int, what: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise VerificationFailed(
            f"{what}: {len(members)} members are more than a wheel may have ({MAX_MEMBERS})"
        )
    files: set[str] = set()
    folders: set[str] = set()
    declared = stored = 0
    for member in members:
        name = member.orig_filename
        shown = f"{what}: member {name[:200]!r}"
        _check_member(member, shown)
        plain = name.removesuffix("/")
        if plain in files or (plain in folders and not member.is_dir()):
            raise VerificationFailed(f"{shown} stands twice, or as a file and a folder")
        if not member.is_dir():
            files.add(plain)
        else:
            folders.add(plain)
        parent = plain.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
        declared += member.file_size
        stored += member.compress_size
    if both := files & folders:
        raise VerificationFailed(f"{what}: member {min(both)!r} is a file and a folder")
    limit = _BASE_BYTES + _RATIO * size
    if stored > size or declared > limit:
        raise VerificationFailed(
            f"{what}: its members claim {declared} bytes ({stored} compressed), more than a wheel of "
            f"{size} bytes may hold; it looks like a zip bomb"
        )


def _check_member(member: zipfile.ZipInfo, shown: str) -> None:
    name = member.orig_filename
    if "\\" in name:
        raise VerificationFailed(f"{shown} has a backslash in its name")
    try:
        safe_relative_path(name.removesuffix("/"), what="name")
    except InvalidInput:
        raise VerificationFailed(f"{shown} has an unsafe name, not a plain relative path") from None
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise VerificationFailed(f"{shown} is a symlink or special file; wheels hold plain files only")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise VerificationFailed(f"{shown} is encrypted, or compressed by other means than deflate")


def _dist_info(members: list[zipfile.ZipInfo], name: NormalizedName, version: Version, what: str) -> str:
    tops = (member.filename.split("/", 1) for member in members)
    found = sorted({top[0] for top in tops if len(top) == 2 and top[0].endswith(".dist-info")})
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise VerificationFailed(f"{what}: expected one .dist-info folder, found {listed}")
    own_name, _, own_version = found[0].removesuffix(".dist-info").partition("-")
    _check_same(own_name, own_version, name, version, f"{what}: {found[0]}")
    return found[0]


def _check_same(own_name: str, own_version: str, name: str, version: Version, where: str) -> None:
    try:
        same = canonicalize_name(own_name) == name and Version(own_version) == version
    except InvalidVersion:
        same = False
    if not same:
        raise VerificationFailed(
            f"{where} says {own_name} {own_version}, the wheel's file name says {name} {version}"
        )


def _check_documents(wheel: WheelFile, dist_info: str, name: str, version: Version, what: str) -> None:
    names = set(wheel.namelist())
    for document in ("METADATA", "WHEEL"):
        path = f"{dist_info}/{document}"
        if path not in names:
            raise VerificationFailed(f"{what}: {path} is missing")
        if wheel.getinfo(path).file_size > MAX_DOCUMENT_BYTES:
            raise VerificationFailed(f"{what}: {path} is too large")
        with _translated(what, repr(path)):
            headers = BytesHeaderParser().parsebytes(wheel.read(path))
        if document == "METADATA":
            own = str(headers["Name"] or ""), str(headers["Version"] or "")
            _check_same(*own, name, version, f"{what}: {path}")
        elif str(headers["Wheel-Version"] or "").split(".")[0] != "1":
            raise VerificationFailed(
                f"{what}: {path} says Wheel-Version {headers['Wheel-Version']}; Venvoy reads 1.x"
            )


def _read_through(wheel: WheelFile, member: zipfile.ZipInfo) -> None:
    count = 0
    with wheel.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            count += len(chunk)
    if count != member.file_size:
        raise ValueError(f"{count} bytes instead of {member.file_size}")
