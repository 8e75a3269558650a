"""The installed tree of one wheel, held as data instead of files.

The library ``installer`` decides what a wheel's parts mean; this module gives it a source that reads
quickly and a destination that only collects.
"""

from __future__ import annotations

import configparser
import csv
import functools
import io
import os
import posixpath
import stat
import struct
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
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.sources import WheelContentElement, WheelFile

from builder.layers.launchers import console_script, relocatable_script
from builder.layers.tree import Tree, TreeFile
from manifests.artifact import EntryPoint
from manifests.documents import sha256_stream
from manifests.errors import InvalidInput, Refused, StoreUnavailable, VenvoyError, VerificationFailed
from manifests.layout import belongs_to_venv
from manifests.naming import safe_relative_path
from manifests.target import Target

_LOCAL_HEADER = 30
_EXTRA_SLACK = 64
_MAPPED_MEMBER = 16 * 1024 * 1024
_NOT_CARRIED = ("RECORD.jws", "RECORD.p7s", "REQUESTED", "direct_url.json", "INSTALLER")
# How setuptools named the scripts that it made of an entry point; pip leaves them out.
_WRAPPER_ENDS = (".exe", "-script.py", ".pya")
# What ``zipfile`` and ``installer`` raise on bytes that are no wheel.
_FOREIGN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    csv.Error,
    configparser.Error,
    InstallerError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
    RuntimeError,
)


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
        self._python_name = target.python_name
        self.entry_points: list[EntryPoint] = []
        self.record_path = ""
        self.hashed: dict[str, RecordEntry] = {}

    # What `installer` calls.

    def write_file(self, scheme: Any, path: Any, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        """Take a file of the wheel; scripts are made relocatable and executable (wheel specification)."""
        root = self._roots[scheme]
        full = f"{root}/{path}" if root else str(path)
        self._check_free(full)
        if scheme == "scripts":
            if (launcher := self._launcher_for(str(path))) is not None:
                return launcher
            entry = self.add(full, relocatable_script(stream.read()), executable=True)
        else:
            entry = self.add_stream(full, stream, executable=is_executable)
        return self._record(full, str(path), entry)

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        """Take an entry point of the wheel and write its launcher."""
        content = console_script(name, module, attr)
        self._check_free(f"bin/{name}")
        self.entry_points.append(EntryPoint(name=name, module=module, attribute=attr))
        entry = self.add(f"bin/{name}", content, executable=True)
        return self._record(f"bin/{name}", name, entry)

    def finalize_installation(
        self, scheme: Any, record_file_path: str, records: Iterable[tuple[Any, RecordEntry]]
    ) -> None:
        """Note where RECORD goes; it is written last by ``write_record``, after the ``.pyc`` are there."""
        for _ in records:
            pass  # installer yields as it installs; the rows were noted on the way
        self.record_path = f"{self._roots[scheme]}/{record_file_path}"
        if self.record_path in self.files:
            raise VerificationFailed(f"two files of the wheel install to {self.record_path}")

    def write_record(self) -> None:
        """Write RECORD (PEP 376, PEP 427): one row a file, sorted; ``.pyc`` rows carry no digest."""
        site = f"{self.site_packages}/"
        rows = []
        for path in [*self.files, self.record_path]:
            inside = path.startswith(site)
            row = path[len(site) :] if inside else posixpath.relpath(path, self.site_packages)
            entry = self.hashed.get(path)
            if entry is None or entry.hash_ is None:
                rows.append((row, "", ""))
            else:
                rows.append((row, f"sha256={entry.hash_.value}", str(entry.size)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        self.add(self.record_path, text.getvalue().encode("utf-8"))

    def _check_free(self, path: str) -> None:
        if belongs_to_venv(path, self._python_name):
            raise Refused(f"it would install {path}, which belongs to the venv itself")

    def _launcher_for(self, script: str) -> RecordEntry | None:
        """Return the launcher of which the wheel's *script* is an older form, if it is one."""
        name = posixpath.basename(script)
        for end in _WRAPPER_ENDS:
            if name.lower().endswith(end):
                name = name[: -len(end)]
                break
        launcher = f"bin/{name}"
        known = any(point.name == name for point in self.entry_points)
        return self.hashed[launcher] if known else None

    def _record(self, full: str, path: str, entry: TreeFile) -> RecordEntry:
        value = urlsafe_b64encode(bytes.fromhex(entry.sha256)).rstrip(b"=").decode("ascii")
        record = RecordEntry(path, Hash("sha256", value), entry.size)
        self.hashed[full] = record
        return record


class _QuickWheel(WheelFile):
    """A wheel whose members below 16 MB are read and inflated in one call each.

    The wheel's digest was checked against the lock before, so that members need no second check.
    """

    def __init__(self, archive: zipfile.ZipFile, descriptor: int) -> None:
        super().__init__(archive)
        self._descriptor = descriptor

    @functools.cached_property
    def data_dir(self) -> str:
        """The folder that ends in ``.data``; its name may be spelled unlike the wheel's."""
        tops = {name.partition("/")[0] for name in self._zipfile.namelist() if "/" in name}
        found = sorted(top for top in tops if top.endswith(".data"))
        if len(found) > 1:
            raise VerificationFailed(f"it has several .data folders: {', '.join(found)}")
        return found[0] if found else f"{self.distribution}-{self.version}.data"

    @property
    def dist_info_filenames(self) -> list[str]:
        """Files in the dist-info folder, by their names in it."""
        base = f"{self.dist_info_dir}/"
        return [
            name[len(base) :]
            for name in self._zipfile.namelist()
            if name.startswith(base) and not name.endswith("/")
        ]

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Yield every member but signatures and the marks of another installer."""
        dropped = {f"{self.dist_info_dir}/{name}" for name in _NOT_CARRIED}
        for item in self._zipfile.infolist():
            name = item.filename
            if name.endswith("/") or name in dropped:
                continue
            safe_relative_path(name, what="member")  # as it stands, before `installer` joins and splits it
            mode = item.external_attr >> 16
            executable = stat.S_ISREG(mode) and bool(mode & 0o111)
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
        # The local header's lengths may differ from the directory's; a little slack spares a second read.
        guess = _LOCAL_HEADER + len(item.filename.encode()) + _EXTRA_SLACK + item.compress_size
        data = os.pread(self._descriptor, guess, item.header_offset)
        start = _LOCAL_HEADER + sum(int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
        packed = memoryview(data)[start : start + item.compress_size]
        if len(packed) < item.compress_size:
            packed = memoryview(os.pread(self._descriptor, item.compress_size, item.header_offset + start))
        if item.compress_type == zipfile.ZIP_STORED:
            content = bytes(packed)
        else:
            content = zlib.decompressobj(-15).decompress(packed, item.file_size + 1)
        if len(content) != item.file_size:
            raise VerificationFailed(
                f"{item.filename}: {len(content)} bytes, its header says {item.file_size}"
            )
        return content


@contextmanager
def installed_tree(wheel: Path, sha256: str, target: Target, distribution: str) -> Iterator[WheelTree]:
    """Yield the installed tree of *wheel*, without ``.pyc`` and RECORD.

    The file is checked against *sha256* and read from the same descriptor. Raises VerificationFailed
    naming the wheel where it is not what was promised or is not a valid wheel, Refused where it would
    install over what belongs to the venv, StoreUnavailable where it cannot be read.
    """
    tree = WheelTree(target, distribution)
    try:
        _fill(tree, wheel, sha256)
        yield tree
    finally:
        tree.close()


def _fill(tree: WheelTree, wheel: Path, sha256: str) -> None:
    try:
        stream = wheel.open("rb")
    except OSError as error:
        raise StoreUnavailable(f"{wheel} cannot be read: {error.strerror}") from error
    try:
        with stream:
            found = sha256_stream(stream)
            if found != sha256:
                raise VerificationFailed(f"sha256 is {found}, expected {sha256}")
            with zipfile.ZipFile(stream) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # installer warns of each __pycache__ that it leaves out
                installer.install(_QuickWheel(archive, stream.fileno()), tree, {"INSTALLER": b"venvoy\n"})
            tree.check_shape()
    except VenvoyError as error:
        kind = VerificationFailed if isinstance(error, InvalidInput) else type(error)
        raise kind(f"{wheel.name}: {error}") from error
    except _FOREIGN as error:
        raise VerificationFailed(f"{wheel.name}: not a valid wheel: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what *error* says, in one line; assertions of ``installer`` say nothing."""
    if isinstance(error, AssertionError):
        return "an entry point is not of the form module:attribute"
    return " ".join(str(error).split()) or type(error).__name__
