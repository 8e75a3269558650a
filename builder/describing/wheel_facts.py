"""What a wheel says of itself: its core metadata, and the bills of materials that it carries (PEP 770)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.metadata import parse_email

from manifests.documents import Sha256, sha256_bytes, sha256_stream
from manifests.errors import StoreUnavailable, VerificationFailed
from manifests.naming import is_unprintable

if TYPE_CHECKING:
    from pathlib import Path

_MAX_METADATA = 8 * 1024 * 1024
_MAX_SBOM = 32 * 1024 * 1024
_MAX_SBOMS = 100
_MAX_TEXT = 500
_DIST_INFO = ".dist-info"


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedSbom:
    """A bill of materials inside a wheel: its path in site-packages, and its bytes."""

    path: str
    data: bytes

    @property
    def sha256(self) -> Sha256:
        """The digest of its bytes."""
        return sha256_bytes(self.data)


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFacts:
    """The core metadata that a bill of materials repeats, unvalidated: wheels say what they like.

    ``licence_expression`` is SPDX (PEP 639), ``licence`` the older free text, ``classifiers`` those of
    licences, ``requires`` the lines of Requires-Dist.
    """

    summary: str
    licence_expression: str
    licence: str
    classifiers: tuple[str, ...]
    requires: tuple[str, ...]
    sboms: tuple[EmbeddedSbom, ...]


def read_wheel_facts(wheel: Path, sha256: str) -> WheelFacts:
    """Return the facts of *wheel*, whose bytes must have the digest *sha256*.

    Raises VerificationFailed where they do not or it is no wheel, StoreUnavailable where it cannot be
    read.
    """
    try:
        with wheel.open("rb") as stream:
            if (found := sha256_stream(stream)) != sha256:
                raise VerificationFailed(f"{wheel.name}: sha256 is {found}, expected {sha256}")
            with zipfile.ZipFile(stream) as archive:
                return _facts(archive, wheel.name)
    except OSError as error:
        raise StoreUnavailable(f"{wheel} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise VerificationFailed(
            f"{wheel.name}: not a valid wheel: {' '.join(str(error).split())}"
        ) from error


def _facts(archive: zipfile.ZipFile, name: str) -> WheelFacts:
    tops = {item.partition("/")[0] for item in archive.namelist() if "/" in item}
    folders = sorted(top for top in tops if top.endswith(_DIST_INFO))
    if len(folders) != 1 or f"{folders[0]}/METADATA" not in archive.NameToInfo:
        raise VerificationFailed(
            f"{name}: not a valid wheel: it has no METADATA in its one .dist-info folder"
        )
    raw, unparsed = parse_email(_read(archive, f"{folders[0]}/METADATA", _MAX_METADATA, name))
    licence = raw.get("license") or next(iter(unparsed.get("license", ())), "")
    prefix = f"{folders[0]}/sboms/"
    paths = sorted(item for item in archive.namelist() if item.startswith(prefix) and not item.endswith("/"))
    if len(paths) > _MAX_SBOMS:
        raise VerificationFailed(f"{name}: {len(paths)} bills of materials are more than a wheel may carry")
    return WheelFacts(
        summary=_line(raw.get("summary", "")),
        licence_expression=_line(raw.get("license_expression", "")),
        licence=_line(licence),
        classifiers=tuple(
            _line(item) for item in raw.get("classifiers", ()) if item.startswith("License ::")
        ),
        requires=tuple(_line(item) for item in raw.get("requires_dist", ())),
        sboms=tuple(
            EmbeddedSbom(path=path, data=_read(archive, path, _MAX_SBOM, name))
            for path in paths
            if not is_unprintable(path)
        ),
    )


def _read(archive: zipfile.ZipFile, path: str, limit: int, name: str) -> bytes:
    if archive.getinfo(path).file_size > limit:
        raise VerificationFailed(f"{name}: {path} is larger than it may be ({limit} bytes)")
    with archive.open(path) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise VerificationFailed(f"{name}: {path} is larger than it may be ({limit} bytes)")
    return data


def _line(text: str) -> str:
    """Return *text* as one line that any document may hold."""
    line = " ".join("".join(" " if is_unprintable(char) else char for char in text[: 4 * _MAX_TEXT]).split())
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 4]} ..."
