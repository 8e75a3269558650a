"""Reads ELF files as the loader does: program headers and the dynamic segment.

Stripped or forged section headers hide nothing, and nothing else of the file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.common.utils import parse_cstring_from_stream, struct_parse
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_WEAK = 0x2
_STRING_TAGS = ("DT_SONAME", "DT_NEEDED", "DT_RPATH", "DT_RUNPATH")


def read_facts(stream: BinaryIO) -> dict[str, Any]:
    """Return the facts of an ELF file as the fields of ``builder.layers.elf.ElfNeeds``.

    A file that cannot be read is ``damaged``; nothing is raised for content.
    """
    try:
        return _read(ELFFile(stream))
    # What the parser lets through on made-up offsets and counts.
    except (ELFError, ConstructError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return {"kind": "damaged", "versions": {}}


def _read(elf: ELFFile) -> dict[str, Any]:
    kind = {"ET_DYN": "shared", "ET_EXEC": "executable"}.get(elf["e_type"], "other")
    facts: dict[str, Any] = {
        "kind": kind,
        "machine": str(elf["e_machine"]),
        "bits": elf.elfclass,
        "little_endian": elf.little_endian,
    }
    return facts | (_read_dynamic(elf) if kind != "other" else {"versions": {}})


def _read_dynamic(elf: ELFFile) -> dict[str, Any]:
    """Return what the dynamic segment says. Pyelftools' own reader goes through all sections first."""
    stream, structs = elf.stream, elf.structs
    positions = (elf["e_phoff"] + index * elf["e_phentsize"] for index in range(elf.num_segments()))
    headers = [struct_parse(structs.Elf_Phdr, stream, position) for position in positions]
    values: dict[str, list[int]] = {}
    for header in headers:
        if header["p_type"] == "PT_DYNAMIC":
            for tag, value in _tags(elf, header["p_offset"], header["p_filesz"]):
                values.setdefault(tag, []).append(value)
    if not values:
        return {"versions": {}}  # linked statically

    def offset_of(tag: str) -> int:
        address = values[tag][0]
        for header in headers:
            if header["p_type"] == "PT_LOAD" and 0 <= address - header["p_vaddr"] < header["p_filesz"]:
                return int(address - header["p_vaddr"] + header["p_offset"])
        raise ValueError(f"{tag} lies outside the file")

    strings = offset_of("DT_STRTAB")

    def text(index: int) -> str:
        return (parse_cstring_from_stream(stream, strings + index) or b"").decode("utf-8", "backslashreplace")

    names = {tag: [text(index) for index in values.get(tag, ())] for tag in _STRING_TAGS}
    versions: dict[str, set[str]] = {}
    if "DT_VERNEED" in values:
        for soname, version in _version_needs(elf, offset_of("DT_VERNEED"), values["DT_VERNEEDNUM"][0]):
            versions.setdefault(text(soname), set()).add(text(version))
    return {
        "soname": next(iter(names["DT_SONAME"]), None),
        "needed": tuple(names["DT_NEEDED"]),
        "versions": {soname: tuple(sorted(versions[soname])) for soname in sorted(versions)},
        "search": tuple(e for tag in ("DT_RPATH", "DT_RUNPATH") for p in names[tag] for e in p.split(":")),
    }


def _tags(elf: ELFFile, offset: int, length: int) -> Iterator[tuple[str, int]]:
    for position in range(offset, offset + length, elf.structs.Elf_Dyn.sizeof()):
        tag = struct_parse(elf.structs.Elf_Dyn, elf.stream, position)
        if tag["d_tag"] == "DT_NULL":
            return
        yield str(tag["d_tag"]), tag["d_val"]


def _version_needs(elf: ELFFile, offset: int, count: int) -> Iterator[tuple[int, int]]:
    for _ in range(count):
        need = struct_parse(elf.structs.Elf_Verneed, elf.stream, offset)
        position = offset + need["vn_aux"]
        for _ in range(need["vn_cnt"]):
            version = struct_parse(elf.structs.Elf_Vernaux, elf.stream, position)
            if not version["vna_flags"] & _WEAK:  # the loader only warns where a weak one is missing
                yield need["vn_file"], version["vna_name"]
            if version["vna_next"] == 0:  # the last one, whatever the count claims
                break
            position += version["vna_next"]
        if need["vn_next"] == 0:
            return
        offset += need["vn_next"]
