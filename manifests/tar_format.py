"""Deterministic tar members (POSIX.1-2001 ustar, pax records for long paths).

Every member has mtime 1980-01-02, uid and gid 0, no names of users, and mode 0644, 0755 or (links)
0777, whatever the machine, user or umask. ``tar -x`` of any vendor reads the result.
"""

from __future__ import annotations

MTIME = 315619200
"""1980-01-02T00:00:00Z, the first day that a zip archive can express in every time zone."""

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)

_MAX_SIZE = 8**11 - 1
_TAIL = (
    b"ustar\x0000"  # magic and version
    + bytes(64)  # user and group names
    + b"0000000\x00" * 2  # device numbers
)
_OWNER = b"0000000\x00" * 2
_MTIME = b"%011o\x00" % MTIME
_MODES = {mode: b"%07o\x00" % mode for mode in (0o644, 0o755, 0o777)}


def padding(size: int) -> bytes:
    """Return the zero bytes that follow *size* bytes of content up to the next block."""
    return bytes(-size % BLOCK)


def file_header(path: str, size: int, *, executable: bool) -> bytes:
    """Return the header of a regular file; content and ``padding(size)`` follow it."""
    return _member(path, size, 0o755 if executable else 0o644, b"0", "")


def directory_header(path: str) -> bytes:
    """Return the header of a directory (mode 0755); *path* has no final slash."""
    return _member(path + "/", 0, 0o755, b"5", "")


def link_header(path: str, link_target: str) -> bytes:
    """Return the header of a relative symbolic link."""
    return _member(path, 0, 0o777, b"2", link_target)


def _member(path: str, size: int, mode: int, kind: bytes, link_target: str) -> bytes:
    if size > _MAX_SIZE:
        raise ValueError(f"{path}: {size} bytes is more than a ustar member can hold")
    name = path.encode("utf-8")
    link = link_target.encode("utf-8")
    split = _split(name)
    if split is not None and len(link) <= 100:
        return _header(*split, size, mode, kind, link)
    records = b""
    if split is None:
        records += _pax_record(b"path", name)
    if len(link) > 100:
        records += _pax_record(b"linkpath", link)
    extended = _header(b"", b"././@PaxHeader", len(records), 0o644, b"x", b"")
    plain = _header(b"", name[:100], size, mode, kind, link[:100])
    return extended + records + padding(len(records)) + plain


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return (prefix, name) for the two ustar fields, or None where the path fits neither."""
    if len(name) <= 100:
        return b"", name
    if len(name) > 256:
        return None
    cut = name.find(b"/", len(name) - 101)
    if cut < 0 or cut > 155 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _header(  # noqa: PLR0913, PLR0917 - the fields of a tar header
    prefix: bytes, name: bytes, size: int, mode: int, kind: bytes, link: bytes
) -> bytes:
    before = name.ljust(100, b"\0") + _MODES[mode] + _OWNER + b"%011o\x00" % size + _MTIME
    after = kind + link.ljust(100, b"\0") + _TAIL + prefix.ljust(167, b"\0")
    checksum = sum(before) + sum(after) + 8 * 32
    return b"%b%06o\x00 %b" % (before, checksum, after)


def _pax_record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while True:
        record = b"%d %b=%b\n" % (length, key, value)
        if len(record) == length:
            return record
        length = len(record)
