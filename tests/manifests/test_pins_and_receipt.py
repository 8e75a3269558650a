from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import Sha256
from manifests.errors import InvalidInput, NotFound
from manifests.layout import RECEIPT
from manifests.pins import Pin, ReleasePins, pins_path
from manifests.receipt import Receipt, Switch, read_receipt

SAMPLES = Path(__file__).parent / "samples"
TARGETS = ("cp311-linux_x86_64-glibc2.36", "cp312-linux_aarch64-musl1.2")
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
_SHA = st.binary(min_size=32, max_size=32).map(lambda data: Sha256(data.hex()))


def pin(service: str, target: str = TARGETS[0]) -> Pin:
    return Pin(
        service=service,
        target=target,
        version="1.0",
        manifest=f"artifacts/{service}/{service}.json.gz",
        length=5,
        sha256=Sha256("ab" * 32),
    )


PINS = ReleasePins(release="2026.1.0", pins=(pin("glance"), pin("keystone"), pin("keystone", TARGETS[1])))
RECEIPT_DOCUMENT = Receipt(
    service="keystone",
    release="2026.1.0",
    version="29.0.2",
    target=TARGETS[0],
    identity=Sha256("12" * 32),
    manifest_sha256=Sha256("34" * 32),
    indexes=Sha256("56" * 32),
    python="/usr/bin/python3.11",
    python_version="3.11.2",
    destination="/openstack/venvs/keystone",
    installed_at="2026-04-01T12:00:00+00:00",
    tool="venvoy 1.0",
    install_id="0011223344556677",
    replaced="8899aabbccddeeff",
    history=(
        Switch(
            when="2026-04-01T12:00:00+00:00", who="root", action="install", release="2026.1.0", identity="12"
        ),
    ),
)


def test_pins_come_back_and_are_found() -> None:
    assert ReleasePins.from_json(PINS.to_json()) == PINS
    assert PINS.path == pins_path("2026.1.0") == "pins/2026.1.0.json"
    assert [item.target for item in PINS.find("keystone")] == list(TARGETS)
    assert PINS.find("keystone", TARGETS[1]) == [pin("keystone", TARGETS[1])]
    with pytest.raises(NotFound, match=r"release 2026.1.0 has no service 'nova'; it holds: glance, keystone"):
        PINS.find("nova")
    with pytest.raises(NotFound, match=r"has glance for cp311-.*, not for cp312-"):
        PINS.find("glance", TARGETS[1])
    with pytest.raises(NotFound, match="it holds: nothing"):
        ReleasePins(release="empty", pins=()).find("nova")


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b-c", "d_e"]), st.sampled_from(TARGETS)),
        st.tuples(_TEXT, st.integers(0, 2**53 - 1), _SHA),
    )
)
def test_any_pins_come_back(chosen: dict[tuple[str, str], tuple[str, int, Sha256]]) -> None:
    pins = tuple(
        dataclasses.replace(pin(service, target), version=version, length=length, sha256=digest)
        for (service, target), (version, length, digest) in sorted(chosen.items())
    )
    document = ReleasePins(release="r", pins=pins)
    assert ReleasePins.from_json(document.to_json()) == document


@given(st.builds(Receipt, **dict.fromkeys(("version", "target", "python", "python_version", "destination", "installed_at", "tool", "install_id"), _TEXT), service=st.just("a"), release=st.just("r"), identity=_SHA, manifest_sha256=_SHA, indexes=_SHA, replaced=st.none() | _TEXT, history=st.lists(st.builds(Switch, when=_TEXT, who=_TEXT, action=_TEXT, release=_TEXT, identity=_TEXT), max_size=3).map(tuple)))  # fmt: skip # noqa: E501
def test_any_receipt_comes_back(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json(), what="receipt") == receipt


def problem(value: dict[str, Any], reader: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        reader(json.dumps(value).encode(), what="doc")
    return str(caught.value)


PIN_PATH = f"doc.services.keystone.{TARGETS[0]}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 3}, f"{PIN_PATH}.version: expected str, found int"),
        ({"length": "5"}, f"{PIN_PATH}.length: expected int, found str"),
        ({"length": -1}, f"{PIN_PATH}.length: -1 is out of range"),
        ({"sha256": "x"}, f"{PIN_PATH}.sha256: 'x' is not a sha256"),
        ({"manifest": "../x"}, f"{PIN_PATH}.manifest: '../x' is not a plain relative path"),
        ({"manifest": "/x"}, f"{PIN_PATH}.manifest: '/x' is not a plain relative path"),
        ({"manifest": None}, f"{PIN_PATH}.manifest: expected str, found NoneType"),
    ],
)
def test_wrong_pins_are_refused_naming_the_field(change: dict[str, Any], said: str) -> None:
    value = json.loads(PINS.to_json())
    value["services"]["keystone"][TARGETS[0]].update(change)
    assert problem(value, ReleasePins.from_json) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "3.1"}, "doc: format 3.1 needs Venvoy >= 3.0 (this one reads format 1.x)"),
        ({"release": "../x"}, "'../x' cannot name a release: use letters, digits, '.', '_', '+' and '-'"),
        ({"services": []}, "doc.services: expected dict, found list"),
        ({"services": {"a": []}}, "doc.services.a: expected an object, found list"),
        ({"services": {"a": {TARGETS[0]: 1}}}, f"doc.services.a.{TARGETS[0]}: expected an object, found int"),
    ],
)
def test_other_wrong_pins(change: dict[str, Any], said: str) -> None:
    assert problem({**json.loads(PINS.to_json()), **change}, ReleasePins.from_json) == said


def test_unknown_keys_of_a_newer_minor_are_ignored() -> None:
    pins, receipt = json.loads(PINS.to_json()), json.loads(RECEIPT_DOCUMENT.to_json())
    for value in (pins, receipt, pins["services"]["glance"][TARGETS[0]], receipt["history"][0]):
        value["new"] = [1]
    pins["format"] = receipt["format"] = "1.3"
    assert ReleasePins.from_json(json.dumps(pins).encode()) == PINS
    assert Receipt.from_json(json.dumps(receipt).encode(), what="doc") == RECEIPT_DOCUMENT


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Receipt)])
def test_a_receipts_field_of_a_wrong_type_is_refused_by_name(name: str) -> None:
    good = json.loads(RECEIPT_DOCUMENT.to_json())
    for wrong in (3, [3], True, {"x": 1}):
        if type(wrong) is type(good[name]) and wrong != [3]:
            continue
        value = {**good, name: wrong}
        assert problem(value, Receipt.from_json).startswith(f"doc.{name}")


def test_a_receipt_that_cannot_be_read_counts_as_absent(tmp_path: Path) -> None:
    assert read_receipt(tmp_path) is None
    path = tmp_path / RECEIPT
    path.parent.mkdir()
    data = RECEIPT_DOCUMENT.to_json()
    path.write_bytes(data)
    assert read_receipt(tmp_path) == RECEIPT_DOCUMENT
    for cut in range(0, len(data) - 1, 7):
        path.write_bytes(data[:cut])
        assert read_receipt(tmp_path) is None
    path.unlink()
    path.mkdir()
    assert read_receipt(tmp_path) is None


def test_samples_of_every_format_stay_readable() -> None:
    """Never edit a sample: stores and hosts hold such documents. A new minor gets a new file."""
    for sample in sorted(SAMPLES.glob("pins-*.json")):
        assert ReleasePins.from_json(sample.read_bytes()).find("keystone")
    for sample in sorted(SAMPLES.glob("receipt-*.json")):
        assert Receipt.from_json(sample.read_bytes(), what=sample.name).service == "keystone"
    assert ReleasePins.from_json((SAMPLES / "pins-1.0.json").read_bytes()) == PINS
    assert Receipt.from_json((SAMPLES / "receipt-1.0.json").read_bytes(), what="receipt") == RECEIPT_DOCUMENT
