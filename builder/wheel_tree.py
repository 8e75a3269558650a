"""The installed tree of one wheel, held as data instead of files.

The library ``installer`` decides what a wheel's parts mean; this module gives it a source that reads
quickly and a destination that only collects.
"""

from __future__ import annotations

import csv
import hashlib
import io
import mmap
import posixpath
import warnings
import zipfile
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import installer
from installer.destinations import WheelDestination
from installer.records import Hash, RecordEntry
from installer.sources import WheelContentElement, WheelFile

from builder.launchers import console_script, relocatable_script
from builder.tree import Tree, TreeFile
from manifests.artifact import EntryPoint
from manifests.errors import VenvoyError, VerificationFailed
from manifests.target import Target

_LOCAL_HEADER = 30
_MAPPED_MEMBER = 16 * 1024 * 1024
_NOT_CARRIED = ("RECORD.jws", "RECORD.p7s", "REQUESTED", "direct_url.json", "INSTALLER")


class WheelTree(Tree, WheelDestination):
    """The tree that ``installer`` fills."""

    def __init__(self, target: Target, distribution: str) -> None:
        super().__init__()
        site = target.site_packages
        self._roots = {
            "purelib": site,
            "platlib": site,
            "scripts": "bin",
            "data": "",
            "headers": f"include/site/{target.python_name}/{distribution}",
        }
        self.site_packages = site
        self.entry_points: list[EntryPoint] = []
        self.record_path = ""
        self.hashed: dict[str, RecordEntry] = {}

    # What `installer` calls.

    def write_file(self, scheme: Any, path: Any, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        """Take a file of the wheel; scripts are made relocatable and executable (wheel specification)."""
        root = self._roots[scheme]
        full = f"{root}/{path}" if root else str(path)
        if scheme == "scripts":
            entry = self.add(full, relocatable_script(stream.read()), executable=True)
        else:
            entry = self.add_stream(full, stream, executable=is_executable)
        return self._record(full, str(path), entry)

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        """Take an entry point of the wheel and write its launcher."""
        self.entry_points.append(EntryPoint(name=name, module=module, attribute=attr))
        entry = self.add(f"bin/{name}", console_script(name, module, attr), executable=True)
        return self._record(f"bin/{name}", name, entry)

    def finalize_installation(
        self, scheme: Any, record_file_path: str, records: Iterable[tuple[Any, RecordEntry]]
    ) -> None:
        """Note where RECORD goes; it is written last by ``write_record``, after the ``.pyc`` are there."""
        for _ in records:
            pass  # installer yields as it installs; the rows were noted on the way
        self.record_path = f"{self._roots[scheme]}/{record_file_path}"

    def write_record(self) -> None:
        """Write RECORD (PEP 376, PEP 427): one row a file, sorted; ``.pyc`` rows carry no digest."""
        rows = []
        for path in [*self.files, self.record_path]:
            row = posixpath.relpath(path, self.site_packages)
            entry = self.hashed.get(path)
            if entry is None or entry.hash_ is None:
                rows.append((row, "", ""))
            else:
                rows.append((row, f"sha256={entry.hash_.value}", str(entry.size)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        self.add(self.record_path, text.getvalue().encode("utf-8"))

    def _record(self, full: str, path: str, entry: TreeFile) -> RecordEntry:
        value = urlsafe_b64encode(bytes.fromhex(entry.sha256)).rstrip(b"=").decode("ascii")
        record = RecordEntry(path, Hash("sha256", value), entry.size)
        self.hashed[full] = record
        return record


class _MappedWheel(WheelFile):
    """A wheel read through a memory map: members below 16 MB are inflated in one call.

    The wheel's digest was checked against the lock before, so that members need no second check.
    """

    def __init__(self, archive: zipfile.ZipFile, image: mmap.mmap) -> None:
        super().__init__(archive)
        self._image = image

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Yield every member but signatures and the marks of another installer."""
        dropped = {f"{self.dist_info_dir}/{name}" for name in _NOT_CARRIED}
        for item in self._zipfile.infolist():
            name = item.filename
            if name.endswith("/") or name in dropped:
                continue
            executable = bool((item.external_attr >> 16) & 0o111)
            if item.file_size <= _MAPPED_MEMBER and item.compress_type in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                stream: BinaryIO = io.BytesIO(self._content(item))
                yield (name, "", ""), stream, executable
            else:
                with self._zipfile.open(item) as member:
                    yield (name, "", ""), cast("BinaryIO", member), executable

    def _content(self, item: zipfile.ZipInfo) -> bytes:
        header = item.header_offset
        lengths = self._image[header + 26 : header + 30]
        start = (
            header
            + _LOCAL_HEADER
            + int.from_bytes(lengths[:2], "little")
            + int.from_bytes(lengths[2:], "little")
        )
        packed = memoryview(self._image)[start : start + item.compress_size]
        try:
            if item.compress_type == zipfile.ZIP_STORED:
                content = bytes(packed)
            else:
                content = zlib.decompressobj(-15).decompress(packed, item.file_size + 1)
        finally:
            packed.release()
        if len(content) != item.file_size:
            raise VerificationFailed(
                f"{item.filename}: {len(content)} bytes, its header says {item.file_size}"
            )
        return content


@contextmanager
def installed_tree(wheel: Path, sha256: str, target: Target, distribution: str) -> Iterator[WheelTree]:
    """Yield the installed tree of *wheel*, without ``.pyc`` and RECORD.

    The file is checked against *sha256* and read from the same descriptor. Raises VerificationFailed
    naming the wheel where it is not what was promised or is not a valid wheel.
    """
    tree = WheelTree(target, distribution)
    try:
        with (
            wheel.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as image,
        ):
            found = hashlib.sha256(image).hexdigest()
            if found != sha256:
                raise VerificationFailed(f"{wheel.name}: sha256 is {found}, expected {sha256}")
            with zipfile.ZipFile(stream) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # installer warns of each __pycache__ that it leaves out
                installer.install(_MappedWheel(archive, image), tree, {"INSTALLER": b"venvoy\n"})
        yield tree
    except VenvoyError as error:
        if wheel.name not in str(error):
            raise type(error)(f"{wheel.name}: {error}") from error
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise VerificationFailed(f"{wheel.name}: not a valid wheel: {error}") from error
    finally:
        tree.close()
