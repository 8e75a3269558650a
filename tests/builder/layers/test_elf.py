from __future__ import annotations

import importlib.machinery
import json
import shutil
import struct
import subprocess
import sysconfig
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.layers.elf import ElfFile, ElfNeeds, elf_needs, elf_notes, merge_needs, read_elf, tag_floor
from manifests.errors import HostUnsuitable
from manifests.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = Target.parse("cp311-linux_x86_64-glibc2.36")
MUSL = Target.parse("cp311-linux_x86_64-musl1.2")
WHEEL = "demo-1.0-cp311-cp311-linux_x86_64.whl"
SITE = "lib/python3.11/site-packages"
GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="needs gcc")

Compile = Callable[..., bytes] if TYPE_CHECKING else object


@pytest.fixture
def compile_c(tmp_path: Path) -> Compile:
    def run(code: str, *options: str) -> bytes:
        (tmp_path / "x.c").write_text(code)
        command = [str(GCC), "-o", str(tmp_path / "x.out"), str(tmp_path / "x.c"), *options]
        subprocess.run(command, check=True)
        return (tmp_path / "x.out").read_bytes()

    return run


def library(path: str = "demo/_c.so", **facts: object) -> ElfFile:
    plain = {
        "kind": "shared",
        "machine": "EM_X86_64",
        "bits": 64,
        "needed": ("libc.so.6",),
        "versions": {"libc.so.6": ("GLIBC_2.2.5",)},
    }
    if not path.startswith("bin/"):
        path = f"{SITE}/{path}"
    return ElfFile(path=path, needs=ElfNeeds(**(plain | facts)))  # type: ignore[arg-type]


def merged(*files: ElfFile, wheel: str = WHEEL, target: Target = TARGET) -> dict[str, object]:
    needs = merge_needs([(wheel, files)], target)
    return {"libc_version": needs.libc_version, "libraries": needs.libraries}


# Reading


@needs_gcc
def test_a_library_tells_what_it_needs(compile_c: Compile) -> None:
    code = '#include <math.h>\n#include <stdio.h>\ndouble f(double x) { puts(""); return pow(x, x); }'
    data = compile_c(
        code, "-shared", "-fPIC", "-Wl,-soname,libdemo.so.1", "-Wl,-rpath,/home/me/lib:$ORIGIN/x", "-lm"
    )
    needs = elf_needs(data)
    assert needs is not None
    assert (needs.kind, needs.soname, needs.search) == (
        "shared",
        "libdemo.so.1",
        ("/home/me/lib", "$ORIGIN/x"),
    )
    assert {"libm.so.6", "libc.so.6"} <= set(needs.needed)
    assert any(version.startswith("GLIBC_2.") for version in needs.versions["libm.so.6"])
    read = ElfFile(path="x", needs=needs)
    assert ElfFile.from_value(json.loads(json.dumps(read.to_value()))) == read


@needs_gcc
def test_stripped_section_headers_hide_nothing(compile_c: Compile) -> None:
    data = compile_c('#include <stdio.h>\nvoid f(void) { puts(""); }', "-shared", "-fPIC")
    bare = bytearray(data)
    bare[0x28:0x30] = bytes(8)  # e_shoff
    bare[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    needs = elf_needs(bytes(bare))
    assert needs is not None
    assert needs.versions
    assert needs == elf_needs(data)


@needs_gcc
def test_programs_object_files_and_static_programs(compile_c: Compile) -> None:
    main = "int main(void) { return 0; }"
    program = elf_needs(compile_c(main, "-no-pie"))
    assert program is not None
    assert (program.kind, program.needed) == ("executable", ("libc.so.6",))
    pie = elf_needs(compile_c(main, "-pie", "-fPIE"))
    assert pie is not None
    assert pie.kind == "shared"
    static = elf_needs(compile_c("void _start(void) {}", "-static", "-nostdlib", "-no-pie"))
    assert static is not None
    assert (static.kind, static.needed, static.versions) == ("executable", (), {})
    item = elf_needs(compile_c(main, "-c"))
    assert item is not None
    assert item.kind == "other"


def test_streams_and_other_files(tmp_path: Path) -> None:
    assert elf_needs(b"") is None
    assert elf_needs(b"MZ\x90") is None
    assert read_elf("x", b"#!/bin/sh").needs.kind == "other"
    (tmp_path / "x").write_bytes(b"\x7fELF")
    with (tmp_path / "x").open("rb") as stream:
        stream.read(2)
        damaged = elf_needs(stream)
    assert damaged is not None
    assert damaged.kind == "damaged"


def test_damaged_files_raise_nothing() -> None:
    data = some_library().read_bytes()
    for length in [*range(4, 400, 7), *range(400, len(data), len(data) // 50)]:
        assert elf_needs(data[:length]) is not None
    for at in range(4, 2000, 5):
        flipped = bytearray(data)
        flipped[at] ^= 0xFF
        assert elf_needs(bytes(flipped)) is not None


def test_endless_version_lists_end() -> None:
    data = bytearray(some_library().read_bytes())
    needs = elf_needs(bytes(data))
    at = 0
    tag = struct.pack("<Q", 0x6FFFFFFF)  # DT_VERNEEDNUM
    while (at := data.find(tag, at + 1)) >= 0:
        data[at + 8 : at + 16] = struct.pack("<Q", 2**40)
    start = time.perf_counter()
    assert elf_needs(bytes(data)) == needs
    assert time.perf_counter() - start < 1


def some_library() -> Path:
    folder = Path(sysconfig.get_config_var("DESTSHARED") or "/nonexistent")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    found = sorted(folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_size)
    if not found:
        pytest.skip("this python has no extension modules as files")
    return found[len(found) // 2]


def test_a_file_is_read_quickly() -> None:
    data = some_library().read_bytes()
    elf_needs(data)
    spent = []
    for _ in range(5):
        start = time.process_time()
        elf_needs(data)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.005


# Adding up


def test_libraries_and_versions_add_up() -> None:
    one = library(versions={"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.34")})
    two = library(
        "b.so", needed=("libz.so.1", "libc.so.6"), versions={"libc.so.6": ("GLIBC_2.4", "GLIBC_PRIVATE")}
    )
    assert merged(one, two) == {
        "libc_version": "2.34",
        "libraries": {
            "libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.4", "GLIBC_PRIVATE"),
            "libz.so.1": (),
        },
    }


def test_a_pure_artifact_needs_next_to_nothing() -> None:
    needs = merge_needs([("demo-1.0-py3-none-any.whl", ())], TARGET)
    assert (needs.python, needs.machine, needs.libc) == ("cp311", "x86_64", "glibc")
    assert (needs.libc_version, needs.libraries) == ("2.17", {})
    assert merge_needs([], MUSL).libc_version == "1.1"
    free_threaded = Target.parse("cp313t-linux_x86_64-glibc2.36")
    assert merge_needs([], free_threaded).python == "cp313t"


def test_the_wheels_tag_raises_the_floor() -> None:
    wheel = "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert merged(library(), wheel=wheel)["libc_version"] == "2.28"


@pytest.mark.parametrize(
    ("tag", "floor"),
    [
        ("any", None),
        ("linux_x86_64", None),
        ("manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64", (2, 5)),
        ("manylinux2010_x86_64", (2, 12)),
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", (2, 17)),
        ("manylinux_2_31_aarch64.manylinux_2_34_x86_64", (2, 34)),
        ("musllinux_1_2_x86_64.manylinux_2_28_x86_64", (2, 28)),
        ("musllinux_1_2_x86_64", None),
    ],
)
def test_floors_of_tags(tag: str, floor: tuple[int, int] | None) -> None:
    assert tag_floor(f"demo-1.0-cp311-cp311-{tag}.whl", TARGET) == floor
    assert tag_floor("demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", MUSL) == (1, 2)


def test_bundled_libraries_are_the_artifacts_own() -> None:
    versions = {"libown-1234.so.1": ("OWN_1",), "libby.so.2": ("GLIBC_9.9",), "libc.so.6": ("GLIBC_2.3",)}
    module = library(needed=("libown-1234.so.1", "libby.so.2", "libc.so.6"), versions=versions)
    by_file = library("demo.libs/libown-1234.so.1")
    by_soname = library("demo.libs/libby-abcd.so", soname="libby.so.2")
    needs = merge_needs([(WHEEL, [module]), ("other-1.0-py3-none-any.whl", [by_file, by_soname])], TARGET)
    assert set(needs.libraries) == {"libc.so.6"}
    assert needs.libc_version == "2.17"


def test_a_newer_glibc_than_promised_is_refused_naming_all() -> None:
    low = replace(TARGET, libc_version=(2, 30))
    files = [
        library("a.so", versions={"libc.so.6": ("GLIBC_2.4", "GLIBC_2.38", "GLIBC_2.31")}),
        library("b.so", versions={"libc.so.6": ("GLIBC_2.30",)}),
        library("bin/tool", versions={"libm.so.6": ("GLIBC_2.35",)}),
        library("data/helper", versions={"libc.so.6": ("GLIBC_ABI_DT_RELR",)}),
    ]
    with pytest.raises(HostUnsuitable) as caught:
        merged(*files, target=low)
    hint = f"{low} promises glibc 2.30 only; take another wheel or raise the target"
    assert str(caught.value).splitlines() == [
        f"{WHEEL}: {SITE}/a.so needs GLIBC_2.38 of libc.so.6, {hint}",
        f"{WHEEL}: bin/tool needs GLIBC_2.35 of libm.so.6, {hint}",
        f"{WHEEL}: {SITE}/data/helper needs GLIBC_ABI_DT_RELR of libc.so.6, {hint}",
    ]


@pytest.mark.parametrize(
    ("path", "facts", "message"),
    [
        ("a.so", {"machine": "EM_AARCH64"}, "is for AARCH64 (64 bit)"),
        ("libs/liba.so.1.2", {"machine": "EM_386", "bits": 32}, "is for 386 (32 bit)"),
        ("a.so", {"bits": 32}, "is for X86_64 (32 bit)"),
        ("bin/tool", {"machine": "EM_AARCH64"}, "is for AARCH64 (64 bit)"),
        ("a.so", {"needed": ("libc.musl-x86_64.so.1",)}, "is linked to musl"),
        ("a.so", {"kind": "damaged"}, "cannot be read as an ELF file"),
    ],
)
def test_foreign_files_that_may_be_loaded_are_refused(
    path: str, facts: dict[str, object], message: str
) -> None:
    file = library(path, **facts)
    with pytest.raises(HostUnsuitable) as caught:
        merged(file)
    assert str(caught.value) == f"{WHEEL}: {file.path} {message}, {TARGET} is not"


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("demo/tests/sample.elf", {"machine": "EM_ARM", "bits": 32}),
        ("demo/launcher-arm64", {"machine": "EM_AARCH64"}),
        ("demo/_c.cpython-310-x86_64-linux-gnu.so", {"versions": {"libc.so.6": ("GLIBC_2.99",)}}),
        ("demo/_c.cpython-311-aarch64-linux-gnu.so", {"machine": "EM_AARCH64"}),
        ("demo/_c.o", {"kind": "other", "machine": "EM_ARM"}),
        ("demo/dump", {"kind": "damaged"}),
    ],
)
def test_foreign_files_that_nobody_loads_are_passed_over(path: str, facts: dict[str, object]) -> None:
    assert merged(library(path, **({"needed": ("libodd.so",)} | facts)))["libraries"] == {}


def test_musl_targets() -> None:
    module = library(needed=("libc.musl-x86_64.so.1",), versions={})
    wheel = "demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl"
    assert merged(module, wheel=wheel, target=MUSL) == {
        "libc_version": "1.2",
        "libraries": {"libc.musl-x86_64.so.1": ()},
    }
    with pytest.raises(HostUnsuitable, match="is linked to glibc"):
        merged(library(), target=MUSL)


# Notes


def test_search_paths_outside_are_noted() -> None:
    fine = ("$ORIGIN/../x.libs", "${ORIGIN}", "/usr/lib", "/usr/lib64/x", "/lib", "/usr/local/lib", "/opt/x")
    odd = ("/home/me/build/lib", "", ".", "lib", "/tmp", "/usr/libexec", "/library")
    notes = elf_notes([(WHEEL, [library(search=fine + odd)])], TARGET)
    assert [note.partition("libraries in ")[2].partition(",")[0] for note in notes] == [
        repr(entry) for entry in odd
    ]


def test_modules_for_other_pythons_are_noted_unless_a_sibling_fits() -> None:
    lonely = library("demo/_a.cpython-310-x86_64-linux-gnu.so")
    lucky = library("demo/_b.cpython-310-x86_64-linux-gnu.so")
    siblings = [library("demo/_b.cpython-311-x86_64-linux-gnu.so"), library("other/_a.abi3.so")]
    notes = elf_notes([(WHEEL, [lonely, lucky, *siblings])], TARGET)
    assert notes == [f"{WHEEL}: {lonely.path} cannot be imported on {TARGET}, and has no sibling that can"]


def test_foreign_data_is_noted() -> None:
    notes = elf_notes([(WHEEL, [library("demo/sample", machine="EM_ARM", bits=32)])], TARGET)
    assert notes == [f"{WHEEL}: {SITE}/demo/sample is for ARM (32 bit); it was taken for data"]
