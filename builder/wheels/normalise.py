"""Rewrites a wheel that was built here so that its bytes say nothing about where and when.

Members are stored without compression (zlib's output differs from version to version), sorted, dated
1980-01-02, with modes 0644 or 0755; RECORD comes last and is written anew in the same order.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import zipfile
from typing import TYPE_CHECKING, NamedTuple

from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DATE = (1980, 1, 2, 0, 0, 0)
EPOCH = 315619200
"""``DATE`` in seconds, for SOURCE_DATE_EPOCH."""

_SIGNATURES = (".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")


class Member(NamedTuple):
    """A file of a wheel."""

    name: str
    content: bytes
    executable: bool = False


def normalise_wheel(built: Path, output: Path, *, forbidden: Iterable[bytes]) -> None:
    """Write the checked wheel *built* anew to *output*; equal contents give equal bytes.

    Raises VerificationFailed naming a member that holds one of the *forbidden* paths: it would work
    on the machine that built it only.
    """
    with zipfile.ZipFile(built) as source:
        members = sorted(
            (member for member in source.infolist() if not member.is_dir()),
            key=lambda member: member.filename,
        )
        record = next(m.filename for m in members if m.filename.endswith(".dist-info/RECORD"))

        def contents() -> Iterator[Member]:
            for member in members:
                name = member.filename
                if name == record or name.endswith(_SIGNATURES):
                    continue
                content = source.read(member)
                for path in forbidden:
                    if path in content:
                        raise VerificationFailed(
                            f"{built.name}: {name} holds the path of the build directory, so it works "
                            "nowhere else; its build must not write absolute paths"
                        )
                yield Member(name, content, bool((member.external_attr >> 16) & stat.S_IXUSR))

        write_wheel(output, contents(), record)


def write_wheel(output: Path, members: Iterable[Member], record: str) -> None:
    """Write *members* in their order, and RECORD named *record* after them, to the new file *output*."""
    with zipfile.ZipFile(output, "x", zipfile.ZIP_STORED) as sink:
        rows = []
        for member in members:
            digest = hashlib.sha256(member.content).digest()
            encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
            rows.append((member.name, f"sha256={encoded}", str(len(member.content))))
            sink.writestr(_header(member.name, executable=member.executable), member.content)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (record, "", "")])
        sink.writestr(_header(record, executable=False), text.getvalue().encode("utf-8"))


def _header(name: str, *, executable: bool) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(name, DATE)
    header.create_system = 3  # Unix, whose modes follow
    header.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return header
