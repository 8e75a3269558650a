from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import InvalidInput
from manifests.target import Target


@given(
    st.integers(0, 99), st.sampled_from(["", "t"]), st.sampled_from(["glibc", "musl"]), st.integers(0, 999)
)
def test_the_spelling_is_canonical(minor: int, flags: str, libc: str, libc_minor: int) -> None:
    text = f"cp3{minor}{flags}-linux_aarch64-{libc}2.{libc_minor}"
    assert str(Target.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "cp311", "cp27-linux_x86_64-glibc2.36", "cp311-linux_x86_64-glibc", "cp311-darwin_arm64-glibc2.36",
     "cp311d-linux_x86_64-glibc2.36", "cp311-linux_X86-glibc2.36", " cp311-linux_x86_64-glibc2.36",
     "cp311-linux_x86_64-glibc2.36\n", "cp311-linux_../x-glibc2.36", "cp3\u0661-linux_x86_64-glibc2.36"],
)  # fmt: skip
def test_what_is_no_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"cp311-linux_x86_64-glibc2.36|canonical"):
        Target.parse(text)


def test_other_spellings_are_corrected() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean cp311-linux_x86_64-glibc2.36"):
        Target.parse("cp311-linux_x86_64-glibc2.036")


def test_names_and_places() -> None:
    target = Target.parse("cp313t-linux_x86_64-glibc2.39")
    assert (target.interpreter, target.python_name) == ("cp313", "python3.13t")
    assert target.site_packages == "lib/python3.13t/site-packages"
    assert target.marker_environment["python_full_version"] == "3.13.0"


def test_wheel_tags_go_from_the_newest_libc_to_any() -> None:
    target = Target.parse("cp311-linux_x86_64-glibc2.36")
    assert target.platforms[0] == "manylinux_2_36_x86_64"
    assert target.platforms[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    assert "manylinux_2_37_x86_64" not in target.platforms
    tags = [str(tag) for tag in target.tags]
    assert tags[0] == "cp311-cp311-manylinux_2_36_x86_64"
    for fits in ("cp39-abi3-manylinux2014_x86_64", "py3-none-any", "cp311-none-any"):
        assert fits in tags
    for other in ("cp312-cp312-manylinux_2_17_x86_64", "cp311-cp311-musllinux_1_2_x86_64"):
        assert other not in tags
    musl = Target.parse("cp311-linux_aarch64-musl1.2")
    assert musl.platforms == ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64", "musllinux_1_0_aarch64", "linux_aarch64"]  # fmt: skip # noqa: E501
