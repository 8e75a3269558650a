from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manifests.byte_size import parse_size
from manifests.errors import InvalidInput

UNITS = ("", "K", "M", "G", "T")


@given(
    st.integers(0, 10**12 - 1),
    st.sampled_from(UNITS),
    st.sampled_from(["", "B", "b"]),
    st.booleans(),
    st.sampled_from([1000, 1024]),
)
def test_a_size_is_a_number_and_a_unit(number: int, unit: str, end: str, lower: bool, thousand: int) -> None:
    text = f" {number}{unit.lower() if lower else unit}{end} "
    assert parse_size(text, what="x", thousand=thousand) == number * thousand ** UNITS.index(unit)


@given(st.text(max_size=8))
@example("")
@example("-1")
@example("1.5M")
@example("\u0661")
@example("1\u212a")  # the sign for kelvins, whose small letter is k
@example("K")
@example("1MiB")
@example("1000000000000")
@example("1\n2")
def test_anything_else_is_refused(text: str) -> None:
    if re.fullmatch(r"[0-9]{1,12}[kmgt]?b?", text.strip(), re.ASCII | re.IGNORECASE):
        assert parse_size(text, what="x") >= 0
        return
    with pytest.raises(InvalidInput, match=r"^--limit: .* is no number of bytes"):
        parse_size(text, what="--limit")


def test_too_little_is_refused() -> None:
    assert parse_size("1", what="x", least=1) == 1
    for text in ("0", "0K", "0TB"):
        with pytest.raises(InvalidInput, match=r"^x: '0.*' is too little; it takes 1 at least"):
            parse_size(text, what="x", least=1)
