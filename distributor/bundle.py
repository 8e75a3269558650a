"""A bundle: a part of a store in one plain tar file, for hosts and sites without a network.

Under the store's own paths it holds a release's pins and artifacts, and the metadata that signs them;
before these come ``venvoy-bundle.json`` and, perhaps, ``tool/``. Nothing in a bundle is believed but
what that metadata signs: this module only finds out where each member lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.documents import canonical_json, parse_json
from manifests.errors import InvalidInput, VerificationFailed
from manifests.fields import Fields
from manifests.naming import release_name

FORMAT_MAJOR = 1
FORMAT = "1.0"
DOCUMENT = "venvoy-bundle.json"
"""The first member: what the bundle says of itself, unsigned, for people."""
TOOL = "tool/"
"""The folder of what a bare host starts from. It is no part of a store."""
MAX_MEMBERS = 100_000
MAX_DOCUMENT = 1024 * 1024
BLOCK = 512
END = bytes(2 * BLOCK)

_MAX_EXTENDED = 16 * 1024
_MAX_SIZE = 2**53
_FILE, _EXTENDED = b"0", b"x"
_OCTAL = re.compile(rb"[0-7]{1,11}[\0 ]+")
_RECORD = re.compile(rb"([1-9][0-9]{0,4}) (path|size)=")
_DIGITS = re.compile(rb"[0-9]{1,16}")
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"g": "a global header",
}


@dataclass(frozen=True, kw_only=True)
class BundleDocument:
    """What a bundle says of itself: informational, and trusted by nobody.

    ``version`` and ``expires`` (ISO 8601) are those of its timestamp metadata; ``tool`` is the version
    of Venvoy that travels along, if one does.
    """

    release: str
    services: tuple[str, ...]
    version: int
    expires: str
    tool: str | None = None

    def to_json(self) -> bytes:
        """Return the canonical JSON of this document."""
        return canonical_json(
            {
                "format": FORMAT,
                "release": self.release,
                "services": self.services,
                "metadata": {"version": self.version, "expires": self.expires},
                "tool": self.tool,
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> BundleDocument:
        """Read a document. Raises InvalidInput naming the field, and for formats of a later Venvoy."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        metadata = top.object("metadata")
        return cls(
            release=release_name(top.text("release")),
            services=top.texts("services"),
            version=metadata.count("version"),
            expires=metadata.text("expires"),
            tool=top.optional_text("tool"),
        )


@dataclass(frozen=True)
class Header:
    """One tar header, or two where the first is extended: what the member is called and how long it is."""

    path: str
    size: int


def read_header(block: bytes, extended: bytes | None) -> Header:
    """Return what the ustar header *block* says, with the pax records *extended* before it.

    Only plain files are known. Raises VerificationFailed for everything else.
    """
    _check(block)
    kind = block[156:157]
    if kind != _FILE:
        raise VerificationFailed(f"it holds {_KINDS.get(kind, f'a member of kind {kind!r}')}")
    if block[157:257].strip(b"\0"):
        raise VerificationFailed("a plain file in it names a link")
    name, prefix = (field.partition(b"\0")[0] for field in (block[:100], block[345:500]))
    path, size = (prefix + b"/" if prefix else b"") + name, _number(block[124:136])
    records = {} if extended is None else _records(extended)
    if (digits := records.get(b"size")) is not None:
        if not _DIGITS.fullmatch(digits) or int(digits) > _MAX_SIZE:
            raise VerificationFailed(f"a member is said to have {digits[:40]!r} bytes")
        size = int(digits)
    try:
        return Header(records.get(b"path", path).decode("utf-8"), size)
    except UnicodeDecodeError:
        raise VerificationFailed("a member's name is not UTF-8") from None


def extended_size(block: bytes) -> int | None:
    """Return how many bytes of pax records follow *block*, or None if it is a member's own header."""
    if block[156:157] != _EXTENDED:
        return None
    _check(block)
    size = _number(block[124:136])
    if not 0 < size <= _MAX_EXTENDED:
        raise VerificationFailed(f"an extended header of {size} bytes")
    return size


def padded(size: int) -> int:
    """Return how many bytes *size* bytes of content take up in a tar file."""
    return -(-size // BLOCK) * BLOCK


def _check(block: bytes) -> None:
    if block[257:265] != b"ustar\x0000":
        raise VerificationFailed("a header is damaged, or not of the form ustar")
    if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise VerificationFailed("a header is damaged: its sum is wrong")


def _number(field: bytes) -> int:
    if not _OCTAL.fullmatch(field):
        raise VerificationFailed(f"a header holds {field!r} where an octal number belongs")
    return int(field.rstrip(b"\0 "), 8)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return the pax records in *data*: each once, and none but a path and a size."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        match = _RECORD.match(data, position)
        if match is None:
            raise VerificationFailed("an extended header holds more than a path and a size")
        end = position + int(match[1])
        value = data[match.end() : end - 1]
        if end > len(data) or data[end - 1 : end] != b"\n" or not value or match[2] in found:
            raise VerificationFailed("an extended header is damaged")
        if b"\0" in value:
            raise VerificationFailed("an extended header hides part of a name")
        found[match[2]] = value
        position = end
    return found


def check_first(path: str) -> None:
    """Refuse a tar file that does not begin as bundles do."""
    if path != DOCUMENT:
        raise InvalidInput(f"it is a tar file, but no bundle: it does not begin with {DOCUMENT}")
