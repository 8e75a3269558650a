"""Shared libraries of the host: where the loader finds a soname, and which symbol versions it defines.

Read are the loader's own cache (through ``ldconfig -p``) and the ELF version definitions
(``.gnu.version_d``, as in the Linux Standard Base, "Symbol Versioning"). Nothing is loaded.
"""

from __future__ import annotations

import mmap
import platform
import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

_LINE = re.compile(r"^\s+(\S+) \(([^)]*)\) => (/.*)$")
_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_VERDEF_SECTION = 0x6FFFFFFD
_MACHINES = {
    "x86_64": 62,
    "aarch64": 183,
    "i686": 3,
    "ppc64le": 21,
    "s390x": 22,
    "armv7l": 40,
    "riscv64": 243,
}


def missing_libraries(needs: Mapping[str, tuple[str, ...]], machine: str) -> list[str]:
    """Return a line for each soname that the host lacks, or that lacks symbol versions in *needs*."""
    problems = []
    for soname, versions in sorted(needs.items()):
        path = find_library(soname, machine)
        if path is None:
            problems.append(f"library {soname} is not installed")
            continue
        have = defined_versions(path)
        lacking = [version for version in versions if version not in have]
        if lacking:
            problems.append(f"{path} lacks {', '.join(lacking)}")
    return problems


def find_library(soname: str, machine: str) -> Path | None:
    """Return the file that the loader would take for *soname* on *machine*, or None."""
    for path in _candidates(soname):
        if elf_machine(path) == _MACHINES.get(machine):
            return path
    return None


def elf_machine(path: Path) -> int | None:
    """Return ``e_machine`` of the ELF file at *path*, or None where it is none."""
    try:
        with path.open("rb") as stream:
            header = stream.read(20)
    except OSError:
        return None
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return None
    return int(struct.unpack_from("<H" if header[5] == 1 else ">H", header, 18)[0])


def defined_versions(path: Path) -> frozenset[str]:
    """Return the symbol versions that the library at *path* defines; none where it cannot be read."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as image:
            return frozenset(_version_names(image))
    except (OSError, ValueError, OverflowError, struct.error, IndexError):
        return frozenset()


def _candidates(soname: str) -> Iterator[Path]:
    yield from (Path(path) for path in _loader_cache().get(soname, ()))
    triplet = f"{platform.machine()}-linux-gnu"
    for folder in (*_FOLDERS, f"/lib/{triplet}", f"/usr/lib/{triplet}"):
        path = Path(folder) / soname
        if path.is_file():
            yield path


@cache
def _loader_cache() -> dict[str, tuple[str, ...]]:
    for command in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            done = subprocess.run(
                [command, "-p"], capture_output=True, text=True, check=False, timeout=20, env={"LC_ALL": "C"}
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        found: dict[str, tuple[str, ...]] = {}
        for line in done.stdout.splitlines():
            if match := _LINE.match(line):
                found[match[1]] = (*found.get(match[1], ()), match[3])
        return found
    return {}


def _version_names(image: mmap.mmap) -> Iterator[str]:
    """Walk the version definitions (Elf_Verdef, Elf_Verdaux: the same layout in 32 and 64 bits)."""
    order = "<" if image[5] == 1 else ">"
    wide = image[4] == 2
    sections = list(_sections(image, order, wide))
    for kind, offset, link, count in sections:
        if kind != _VERDEF_SECTION:
            continue
        strings = sections[link][1]
        position = offset
        for _ in range(min(count, 10_000)):
            aux, following = struct.unpack_from(f"{order}II", image, position + 12)
            name = struct.unpack_from(f"{order}I", image, position + aux)[0]
            yield _text(image, strings + name)
            if not following:
                break
            position += following


def _sections(image: mmap.mmap, order: str, wide: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield (type, offset, link, info) of each section."""
    table = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", image, 40 if wide else 32)[0]
    size, count = struct.unpack_from(f"{order}HH", image, 58 if wide else 46)
    for index in range(count):
        start = table + index * size
        if wide:
            kind, offset = struct.unpack_from(f"{order}4xI16xQ", image, start)
            link, info = struct.unpack_from(f"{order}II", image, start + 40)
        else:
            kind, offset = struct.unpack_from(f"{order}4xI8xI", image, start)
            link, info = struct.unpack_from(f"{order}II", image, start + 24)
        yield kind, offset, link, info


def _text(image: mmap.mmap, start: int) -> str:
    end = image.find(b"\0", start)
    return image[start:end].decode("ascii", "replace")
