"""Licences: what is certain becomes SPDX, and nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest

from builder.describing.licences import licences
from builder.describing.wheel_facts import WheelFacts

NO_FACTS: dict[str, Any] = {
    "summary": "",
    "licence_expression": "",
    "licence": "",
    "classifiers": (),
    "requires": (),
    "sboms": (),
}


def found(**facts: Any) -> list[str]:
    values: list[Any] = licences(WheelFacts(**{**NO_FACTS, **facts}))
    return [
        f"expression {item.value}" if hasattr(item, "value") else f"id {item.id}" if item.id else item.name
        for item in values
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"licence_expression": "MIT"}, ["id MIT"]),
        ({"licence_expression": "MIT AND (Apache-2.0 OR BSD-3-Clause)"}, None),
        ({"licence_expression": "MIT", "licence": "GPL"}, ["id MIT"]),
        ({"licence": "apache-2.0"}, ["id Apache-2.0"]),
        ({"licence": "BSD"}, ["BSD"]),
        ({"licence": "You may OR may not"}, ["You may OR may not"]),
        ({"licence": "UNKNOWN", "classifiers": ("License :: OSI Approved :: MIT License",)}, ["id MIT"]),
        ({"licence": "x" * 101, "classifiers": ("License :: OSI Approved :: BSD License",)}, ["BSD License"]),
        (
            {
                "classifiers": (
                    "License :: OSI Approved",
                    "License :: OSI Approved :: Apache Software License",
                )
            },
            ["id Apache-2.0"],
        ),
        ({}, []),
    ],
)
def test_licences(facts: dict[str, Any], expected: list[str] | None) -> None:
    assert found(**facts) == (expected or ([f"expression {facts['licence_expression']}"] if facts else []))
