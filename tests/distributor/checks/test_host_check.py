"""Does it fit the host: libraries and versions of this very machine, and every way not to fit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distributor.checks.host_check import check_needs, check_space, choose_pin
from distributor.checks.host_libraries import defined_versions, elf_machine, find_library, missing_libraries
from manifests.artifact import Needs
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable, NotFound
from manifests.interpreter import probe
from manifests.pins import Pin
from tests.distributor.hostile import artifact, member, tar

HOST = probe(Path(sys.executable))
FITS = Needs(
    python=f"cp{HOST.python[0]}{HOST.python[1]}",
    machine=HOST.machine,
    libc=HOST.libc,
    libc_version=".".join(map(str, HOST.libc_version)),
    libraries={"libc.so.6": ("GLIBC_2.17",)} if HOST.libc == "glibc" else {},
)
glibc_only = pytest.mark.skipif(HOST.libc != "glibc", reason="this host has no glibc to look at")


def needing(**changes: object) -> Needs:
    return replace(FITS, **changes)  # type: ignore[arg-type]


def check(needs: Needs) -> None:
    found, _ = artifact(tar(member("a", b"x")))
    check_needs(replace(found, needs=needs), HOST)


def test_this_host_fits_itself() -> None:
    check(FITS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": "s390x"}, "needs machine s390x, "),
        ({"libc": "musl" if HOST.libc == "glibc" else "glibc"}, "needs musl, "),
        ({"libc_version": "2.999"}, "needs glibc >= 2.999, this host has "),
        ({"libraries": {"libabsent.so.9": ()}}, "library libabsent.so.9 is not installed"),
        ({"libraries": {"libc.so.6": ("GLIBC_2.999", "GLIBC_2.17")}}, "lacks GLIBC_2.999"),
    ],
)
@glibc_only
def test_every_mismatch_names_both_sides(changes: dict[str, object], message: str) -> None:
    with pytest.raises(HostUnsuitable) as caught:
        check(needing(**changes))
    assert message in str(caught.value)
    assert str(caught.value).startswith(
        "demo-1-cp311-linux_x86_64-glibc2.36-000000000000 does not fit this host: "
    )


@glibc_only
def test_all_mismatches_come_in_one_error() -> None:
    with pytest.raises(HostUnsuitable) as caught:
        check(needing(libc_version="2.999", libraries={"liba.so": (), "libb.so": ()}))
    assert str(caught.value).count(";") == 2


@glibc_only
def test_versions_are_those_that_the_library_defines() -> None:
    path = find_library("libc.so.6", HOST.machine)
    assert path is not None
    assert {"GLIBC_2.17", "GLIBC_2.4"} & defined_versions(path)
    assert "GLIBC_PRIVATE" in defined_versions(path)
    assert missing_libraries({"libc.so.6": ("GLIBC_2.17",)}, HOST.machine) == []
    assert missing_libraries({"libc.so.6": ()}, "s390x") == ["library libc.so.6 is not installed"]


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 60, b"\x7fELF\x02\x01" + b"\xff" * 200]
)
def test_damaged_libraries_define_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(content)
    assert defined_versions(path) == frozenset()
    elf_machine(path)


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    found, _ = artifact(tar(member("a", b"x")))
    huge = replace(found, layers=(replace(found.layers[0], tar_length=2**60),))
    with pytest.raises(HostUnsuitable, match=r"MB free, demo needs \d+ MB"):
        check_space(huge, tmp_path)
    check_space(found, tmp_path)


def pin(target: str) -> Pin:
    return Pin(service="demo", target=target, version="1", manifest="m", length=1, sha256=Sha256("0" * 64))


def test_the_pin_for_the_best_target_that_fits_is_chosen() -> None:
    tag = f"cp{HOST.python[0]}{HOST.python[1]}-linux_{HOST.machine}-{HOST.libc}"
    pins = [pin(f"{tag}2.17"), pin(f"{tag}2.28"), pin(f"{tag}2.999"), pin("cp311-linux_s390x-glibc2.17")]
    assert choose_pin(pins, None)[0].target == f"{tag}2.28"


def test_no_target_that_fits_says_why_for_each() -> None:
    pins = [
        pin("cp399-linux_x86_64-glibc2.17"),
        pin(f"cp{HOST.python[0]}{HOST.python[1]}-linux_s390x-glibc2.17"),
    ]
    with pytest.raises(HostUnsuitable) as caught:
        choose_pin(pins, None)
    assert "no python3.99 on this host" in str(caught.value)
    assert "linux_s390x-glibc2.17: this host is CPython" in str(caught.value)
    with pytest.raises(NotFound, match=r"no python3\.99 on this host"):
        choose_pin(pins[:1], None)
