from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import pytest

from builder.execution.offers import Offer, choose_offer, own_interpreters
from manifests.errors import NotFound
from manifests.target import Target

TARGET = Target.parse("cp311-linux_x86_64-glibc2.36")


def offer(text: str) -> Offer:
    found = Offer.parse(text)
    assert found is not None
    return found


def test_an_offer_is_a_name_and_back() -> None:
    text = "cp311-linux_x86_64-glibc2.36@3.11.2"
    assert str(offer(text)) == text
    assert offer(text) == Offer(target=TARGET, version="3.11.2")


@pytest.mark.parametrize("text", ["GPU", "MEM@", "cp311@3.11.2", "cp311-linux_x86_64-glibc2.36", "@3.11.2"])
def test_other_resources_are_no_offers(text: str) -> None:
    assert Offer.parse(text) is None


@pytest.mark.parametrize(
    ("best", "others"),
    [
        ("cp311-linux_x86_64-glibc2.36@3.11.2", ["cp311-linux_x86_64-glibc2.31@3.11.9"]),
        ("cp311-linux_x86_64-glibc2.31@3.11.2", ["cp311-linux_x86_64-glibc2.39@3.11.9"]),
        (
            "cp311-linux_x86_64-glibc2.39@3.11.2",
            ["cp311-linux_x86_64-glibc2.41@3.11.9", "cp311-linux_aarch64-glibc2.36@3.11.9"],
        ),
        ("cp311-linux_aarch64-glibc2.36@3.11.2", ["cp312-linux_x86_64-glibc2.36@3.12.1"]),
        ("cp311-linux_x86_64-glibc2.36@3.11.10", ["cp311-linux_x86_64-glibc2.36@3.11.9"]),
    ],
)
def test_each_target_builds_where_it_can(best: str, others: list[str]) -> None:
    for order in permutations([best, *others]):
        assert choose_offer(map(offer, order), TARGET) == offer(best)


def test_a_version_can_be_asked_for() -> None:
    offers = [offer(f"{TARGET}@{version}") for version in ("3.11.2", "3.11.7")]
    assert choose_offer(offers, TARGET, "3.11.2") == offers[0]
    assert choose_offer(offers, TARGET, "3.11.9") is None
    assert choose_offer([], TARGET) is None


def test_another_abi_is_not_taken() -> None:
    assert choose_offer([offer("cp313t-linux_x86_64-glibc2.36@3.13.0")], TARGET) is None
    free_threaded = Target.parse("cp313t-linux_x86_64-glibc2.36")
    assert choose_offer([offer("cp313-linux_x86_64-glibc2.36@3.13.0")], free_threaded) is None


def test_what_is_offered_is_what_the_interpreter_is() -> None:
    found = own_interpreters([Path(sys.executable)])
    assert len(found) == 1
    assert Offer.of(found[0]).version == found[0].version
    seen = offer(str(Offer.of(found[0]))).interpreter
    facts = ("version", "python", "abi_flags", "machine", "libc", "libc_version")
    assert [getattr(seen, name) for name in facts] == [getattr(found[0], name) for name in facts]


def test_the_search_finds_the_running_python() -> None:
    own = own_interpreters([Path(sys.executable)])[0]
    assert Offer.of(own) in [Offer.of(found) for found in own_interpreters([])]


def test_a_python_that_is_not_there_is_said() -> None:
    with pytest.raises(NotFound, match="there is no interpreter at /nonexistent/python"):
        own_interpreters([Path("/nonexistent/python")])
