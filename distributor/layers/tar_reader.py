"""Reads the tar members of a verified layer: an allow-list, not a tar implementation.

Accepted are regular files, directories and relative symbolic links that stay inside, with plain
relative paths, modes 0644, 0755 and 0777 (links), in ustar form with pax records ``path`` and
``linkpath``. Anything else (devices, hard links, setuid bits, sparse files, global headers, base-256
numbers) is refused: no artifact of ours holds it. Sizes and counts are held against signed figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from manifests.errors import VerificationFailed

BLOCK = 512
_FILE, _DIRECTORY, _LINK, _EXTENDED = ord("0"), ord("5"), ord("2"), ord("x")
_MAX_PATH = 3800  # bytes: below PATH_MAX (4096) with room for where the venv stands
_MAX_NAME = 255
_MAX_EXTENDED = 16 * 1024
_MODES = {b"0000644\0": 0o644, b"0000755\0": 0o755, b"0000777\0": 0o777}
_FILE_MODES = (0o644, 0o755)
_NO_NAMES = ("", ".", "..")
_REFILL = 4 * 1024 * 1024


class MemberSink(Protocol):
    """What takes the members of a layer, in their order. Paths were checked before."""

    def directory(self, path: str) -> None:
        """Take a directory."""

    def link(self, path: str, target: str) -> None:
        """Take a symbolic link."""

    def file(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        """Take the file ``folder/name``; *content* yields all of it and must be used up."""


class _Window:
    """The part of the tar stream that is in memory, and how to get more."""

    def __init__(self, read: Callable[[int], bytes], length: int, begun: bytes) -> None:
        self._read = read
        self.left = length - len(begun)
        self.data = begun
        self.view = memoryview(self.data)
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        self.need(size)
        start = self.position
        self.position = start + size
        return self.data[start : self.position]

    def skip(self, size: int) -> None:
        """Pass over the next *size* bytes."""
        if len(self.data) - self.position < size:
            self.need(size)
        self.position += size

    def need(self, size: int) -> None:
        """Have at least *size* bytes from the position on, or raise VerificationFailed."""
        have = len(self.data) - self.position
        if have >= size:
            return
        parts = [self.data[self.position :]] if have else []
        while have < size:
            part = self._read(min(max(_REFILL, size - have), self.left))
            if not part:
                raise VerificationFailed("the layer ends in the middle of a member")
            self.left -= len(part)
            have += len(part)
            parts.append(part)
        self.data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.view, self.position = memoryview(self.data), 0

    def content(self, size: int) -> Iterable[memoryview]:
        """Return the next *size* bytes: in one piece where they are in memory, else piece by piece."""
        start = self.position
        if size <= len(self.data) - start:
            self.position = start + size
            return (self.view[start : start + size],)
        return self._pieces(size)

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size:
            self.need(1)
            start = self.position
            self.position = min(start + size, len(self.data))
            size -= self.position - start
            yield self.view[start : self.position]


def read_members(  # noqa: PLR0912 - the one hot loop: its cases stay in one place
    read: Callable[[int], bytes], length: int, count: int, sink: MemberSink, *, begun: bytes = b""
) -> None:
    """Hand all members of a tar stream of *length* bytes to *sink*; there must be *count* of them.

    The stream is *begun*, at most *length* bytes, and then what *read(n)* returns: at most *n* bytes, and
    none only at the end. Raises VerificationFailed for anything outside the allow-list, naming the member.
    """
    window = _Window(read, length, begun)
    folders = {""}  # checked, and handed to the sink
    seen = 0
    while window.left or window.position < len(window.data):
        seen += 1
        if seen > count:
            raise VerificationFailed(f"the layer holds more than the signed {count} members")
        start = window.position
        if len(window.data) - start >= BLOCK:  # in place: this line runs for every member
            header = window.data[start : start + BLOCK]
            window.position = start + BLOCK
        else:
            header = window.take(BLOCK)
        path = link = None
        if header[156] == _EXTENDED:
            path, link = _extended_records(window.take(_padded(_size(header, _MAX_EXTENDED))), header)
            header = window.take(BLOCK)
        if path is None:
            path = _path(header)
        kind = header[156]
        mode = _MODES.get(header[100:108])
        size = _size(header, window.left + len(window.data))
        if kind == _FILE and mode in _FILE_MODES:
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                raise VerificationFailed(f"{path[:200]!r} comes before its directory")
            if name in _NO_NAMES or not name.isascii() or len(path) > _MAX_NAME:
                check_path(path)
            sink.file(folder, name, mode, window.content(size))
            if size % BLOCK:
                window.skip(-size % BLOCK)
        elif kind == _DIRECTORY and not size and mode == 0o755 and path.endswith("/"):
            check_path(path[:-1])
            sink.directory(path[:-1])
            folders.add(path[:-1])
        elif kind == _LINK and not size and mode == 0o777:
            target = _text(header[157:257]) if link is None else link
            check_path(path)
            check_link(path, target)
            sink.link(path, target)
        else:
            raise VerificationFailed(
                f"{path[:200]!r}: type {chr(kind)!r} with mode {header[100:107]!r} is not allowed"
            )
    if seen != count:
        raise VerificationFailed(f"the layer holds {seen} members, {count} were signed")
    if read(1):
        raise VerificationFailed("the layer goes on after its signed length")


def check_path(path: str) -> None:
    """Raise VerificationFailed unless *path* is plain, relative, and stays below its root."""
    if not path or len(path.encode()) > _MAX_PATH or "\0" in path:
        raise VerificationFailed(f"{path[:80]!r} is not a path that an artifact may hold")
    for part in path.split("/"):
        if part in ("", ".", "..") or len(part.encode()) > _MAX_NAME:
            raise VerificationFailed(f"{path[:200]!r} is not a path that an artifact may hold")


def check_link(path: str, target: str) -> None:
    """Raise VerificationFailed unless the link *path* -> *target* is relative and stays inside."""
    depth = path.count("/")
    inside = bool(target) and not target.startswith("/") and len(target) <= _MAX_PATH and "\0" not in target
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        inside = inside and depth >= 0
    if not inside:
        raise VerificationFailed(f"{path!r} -> {target!r}: links must be relative and stay inside")


def _path(header: bytes) -> str:
    if header[257:265] != b"ustar\x0000":
        raise VerificationFailed("a member's header is not ustar")
    name = header[:100].partition(b"\0")[0]
    if header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise VerificationFailed(f"{name!r} is not a UTF-8 name") from None


def _text(field: bytes) -> str:
    raw = field.partition(b"\0")[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise VerificationFailed(f"{raw!r} is not a UTF-8 name") from None


def _size(header: bytes, limit: int) -> int:
    field = header[124:135]
    try:
        # int() alone would take signs, blanks, underscores and a prefix.
        size = int(field, 8) if field.isdigit() and not header[135] else -1
    except ValueError:
        size = -1
    if size < 0:
        raise VerificationFailed(f"a member's size is not plain octal: {field!r}")
    if size > limit:
        raise VerificationFailed(f"a member of {size} bytes does not fit what was signed")
    return size


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _extended_records(block: bytes, header: bytes) -> tuple[str | None, str | None]:
    """Return path and linkpath of an extended header (POSIX.1-2001, "pax Header Block")."""
    rest = block[: _size(header, len(block))]
    records: dict[bytes, str] = {}
    while rest:
        number = rest.partition(b" ")[0]
        length = int(number) if number.isdigit() and len(number) < 6 else 0
        line, rest = rest[:length], rest[length:]
        key, equals, value = line[len(number) + 1 :].partition(b"=")
        if len(line) != length or not equals or not line.endswith(b"\n") or b"\0" in line:
            raise VerificationFailed("an extended header is malformed")
        if key not in (b"path", b"linkpath") or key in records:
            raise VerificationFailed(f"extended header {key[:80]!r} is not allowed")
        records[key] = _text(value[:-1])
    return records.get(b"path"), records.get(b"linkpath")
