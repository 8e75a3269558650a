"""What compiled files need of a host: machine, libc version, libraries and their symbol versions.

``read_elf`` looks at one file, once per wheel; its result is plain data that caches keep as JSON.
``merge_needs`` adds up all files of an artifact. Read is what the loader reads (program headers and
the dynamic segment), so stripped section headers hide nothing.
"""

from __future__ import annotations

import io
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from manifests.artifact import Needs
from manifests.errors import HostUnsuitable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from manifests.target import Target

_MAGIC = b"\x7fELF"
# e_machine and class of each machine that targets name.
_MACHINES = {
    "x86_64": ("EM_X86_64", 64),
    "i686": ("EM_386", 32),
    "aarch64": ("EM_AARCH64", 64),
    "armv7l": ("EM_ARM", 32),
    "ppc64le": ("EM_PPC64", 64),
    "s390x": ("EM_S390", 64),
    "riscv64": ("EM_RISCV", 64),
    "loongarch64": ("EM_LOONGARCH", 64),
}
_BIG_ENDIAN = ("s390x",)
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PLATFORM = re.compile(r"(?:(manylinux|musllinux)_(\d+)_(\d+)|(manylinux(?:1|2010|2014)))_(\w+)")
# The oldest libc that wheels are made for at all (PEP 599, PEP 656): what a pure artifact asks for.
_OLDEST = {"glibc": (2, 17), "musl": (1, 1)}
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
# Marks instead of versions: the loader must know this feature.
_GLIBC_MARKS = {"GLIBC_ABI_DT_RELR": (2, 36)}
_LIBRARY = re.compile(r"\.so(\.[\w.+-]*)?$")
_SOABI = re.compile(r"\.cpython-(\d+[a-z]*)-([\w-]+)\.so$")
_SYSTEM_PATH = re.compile(r"(/usr)?/lib(x?32|64)?(/|$)|/usr/local(/|$)|/opt(/|$)")


@dataclass(frozen=True, kw_only=True)
class ElfNeeds:
    """The facts of one ELF file.

    ``kind`` is ``shared`` (libraries, modules, position-independent programs), ``executable``,
    ``other`` (object files, dumps: nothing that is loaded) or ``damaged``. ``versions`` maps sonames
    to the symbol versions that the loader insists on; ``search`` holds RPATH and RUNPATH entries.
    """

    kind: str
    machine: str = ""
    bits: int = 0
    little_endian: bool = True
    soname: str | None = None
    needed: tuple[str, ...] = ()
    versions: dict[str, tuple[str, ...]]
    search: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ElfFile:
    """An ELF file of a wheel: its path in the venv and its facts."""

    path: str
    needs: ElfNeeds

    def to_value(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"path": self.path, **{name: getattr(self.needs, name) for name in _FIELDS}}

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> ElfFile:
        """Read what ``to_value`` gave. Raises KeyError, TypeError or AttributeError for anything else."""
        facts = {name: value[name] for name in _FIELDS}
        for name in ("needed", "search"):
            facts[name] = tuple(facts[name])
        facts["versions"] = {soname: tuple(names) for soname, names in facts["versions"].items()}
        return cls(path=value["path"], needs=ElfNeeds(**facts))


_FIELDS = tuple(ElfNeeds.__dataclass_fields__)


def elf_needs(data: bytes | BinaryIO) -> ElfNeeds | None:
    """Return the facts of the ELF file *data*, or None where it is none.

    A file that begins like one but cannot be read is ``damaged``; nothing is raised for content.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    stream.seek(0)
    if stream.read(4) != _MAGIC:
        return None
    from builder.layers.elf_reader import read_facts  # the parser costs 60 ms, and cached layers need none

    return ElfNeeds(**read_facts(stream))


def read_elf(path: str, data: bytes | BinaryIO) -> ElfFile:
    """Return the ELF file *data* that stands at *path* of the venv; what is no ELF file is ``other``."""
    return ElfFile(path=path, needs=elf_needs(data) or ElfNeeds(kind="other", versions={}))


def merge_needs(wheels: Iterable[tuple[str, Sequence[ElfFile]]], target: Target) -> Needs:
    """Return what an artifact for *target* needs, from its wheels' names and ELF files.

    A library counts as the artifact's own where some file in it carries that soname or name. Every
    file that the loader could be asked to load (a library by name, anything in ``bin/``) must be of
    the target's machine and libc; foreign data files that merely are ELF are passed over, as are
    modules whose name says that they are for another Python or machine. Raises HostUnsuitable with
    one line for each file that does not fit.
    """
    wheels = list(wheels)
    problems: list[str] = []
    loaded: list[tuple[str, ElfFile]] = []
    for wheel, file in _all_files(wheels):
        if _is_for_others(file, target) or file.needs.kind == "other":
            continue
        if (reason := _foreign(file.needs, target)) is None:
            loaded.append((wheel, file))
        elif _may_be_loaded(file.path):
            problems.append(f"{wheel}: {file.path} {reason}, {target} is not")
    own = {file.needs.soname or "" for _, file in loaded} | {posixpath.basename(f.path) for _, f in loaded}
    libc = max([_OLDEST[target.libc], *(floor for wheel, _ in wheels if (floor := tag_floor(wheel, target)))])
    libraries: dict[str, set[str]] = {}
    for wheel, file in loaded:
        for soname in file.needs.needed:
            if soname not in own:
                libraries.setdefault(soname, set()).update(file.needs.versions.get(soname, ()))
        highest, name = _glibc_version(file.needs, own)
        if highest > target.libc_version and target.libc == "glibc":
            problems.append(
                f"{wheel}: {file.path} needs {name}, {target} promises glibc "
                f"{_dotted(target.libc_version)} only; take another wheel or raise the target"
            )
        libc = max(libc, highest)
    if problems:
        raise HostUnsuitable("\n".join(problems))
    return Needs(
        python=f"{target.interpreter}{target.abi_flags}",
        machine=target.machine,
        libc=target.libc,
        libc_version=_dotted(libc),
        libraries={soname: tuple(sorted(libraries[soname])) for soname in sorted(libraries)},
    )


def elf_notes(wheels: Iterable[tuple[str, Sequence[ElfFile]]], target: Target) -> list[str]:
    """Return what is odd about an artifact's ELF files without being an error, one line each.

    Search paths outside the venv and the system, modules for other Pythons without one that fits,
    data files for other machines.
    """
    wheels = list(wheels)
    modules = {_module(file.path) for _, file in _all_files(wheels) if not _is_for_others(file, target)}
    notes = []
    for wheel, file in _all_files(wheels):
        where = f"{wheel}: {file.path}"
        for entry in filter(_is_odd_path, file.needs.search):
            notes.append(
                f"{where} looks for libraries in {entry!r}, outside the venv and the system's folders"
            )
        if _is_for_others(file, target):
            if _module(file.path) not in modules:
                notes.append(f"{where} cannot be imported on {target}, and has no sibling that can")
        elif file.needs.kind != "other" and (reason := _foreign(file.needs, target)) is not None:
            notes.append(f"{where} {reason}; it was taken for data")
    return notes


def tag_floor(wheel: str, target: Target) -> tuple[int, int] | None:
    """Return the lowest libc version that the wheel's file name promises to need, None if it says none."""
    floors = []
    for platform in wheel.removesuffix(".whl").rpartition("-")[2].split("."):
        match = _PLATFORM.fullmatch(platform)
        if match is not None and match[5] == target.machine:
            kind = "musl" if match[1] == "musllinux" else "glibc"
            if kind == target.libc:
                floors.append(_LEGACY[match[4]] if match[4] else (int(match[2]), int(match[3])))
    return min(floors, default=None)


def _all_files(wheels: Iterable[tuple[str, Sequence[ElfFile]]]) -> Iterator[tuple[str, ElfFile]]:
    return ((wheel, file) for wheel, files in wheels for file in files)


def _foreign(needs: ElfNeeds, target: Target) -> str | None:
    if needs.kind == "damaged":
        return "cannot be read as an ELF file"
    machine = _MACHINES.get(target.machine)
    little = target.machine not in _BIG_ENDIAN
    if machine is not None and (needs.machine, needs.bits, needs.little_endian) != (*machine, little):
        return f"is for {needs.machine.removeprefix('EM_')} ({needs.bits} bit)"
    is_musl = any(name.startswith(("libc.musl-", "ld-musl-")) for name in needs.needed)
    libc = "musl" if is_musl else "glibc" if "libc.so.6" in needs.needed else None
    return None if libc in (None, target.libc) else f"is linked to {libc}"


def _may_be_loaded(path: str) -> bool:
    return path.startswith("bin/") or _LIBRARY.search(posixpath.basename(path)) is not None


def _is_for_others(file: ElfFile, target: Target) -> bool:
    match = _SOABI.search(file.path)
    if match is None:
        return False
    version = f"{target.python[0]}{target.python[1]}{target.abi_flags}"
    # i686's modules carry its multiarch name, i386; ARM's carry arm.
    machine = {"i686": "i386", "armv7l": "arm", "ppc64le": "powerpc64le"}.get(target.machine, target.machine)
    return match[1] != version or not match[2].startswith(f"{machine}-")


def _module(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, name.partition(".")[0])


def _glibc_version(needs: ElfNeeds, own: set[str]) -> tuple[tuple[int, int], str]:
    highest, name = (0, 0), ""
    for soname, versions in needs.versions.items():
        for version in versions if soname not in own else ():
            match = _GLIBC.fullmatch(version)
            number = (int(match[1]), int(match[2])) if match else _GLIBC_MARKS.get(version, (0, 0))
            if number > highest:
                highest, name = number, f"{version} of {soname}"
    return highest, name


def _is_odd_path(entry: str) -> bool:
    return not entry.startswith(("$ORIGIN", "${ORIGIN}")) and _SYSTEM_PATH.match(entry) is None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
