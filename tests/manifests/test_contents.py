"""Contents of a release: small, exact, and read with suspicion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from manifests.contents import ArtifactContents, ReleaseContents
from manifests.documents import canonical_json
from manifests.errors import InvalidInput

TARGET = "cp311-linux_x86_64-glibc2.36"
OTHER = "cp312-linux_x86_64-glibc2.39"
CONTENTS = ReleaseContents(
    release="1.0",
    artifacts={
        ("nova", OTHER): ArtifactContents(length=7, unpacked=9, packages=(("six", "1.17.0"),)),
        ("nova", TARGET): ArtifactContents(
            length=10, unpacked=30, packages=(("pbr", "7.0.1"), ("six", "1.16.0"))
        ),
    },
)


def test_they_come_back_as_they_were_written() -> None:
    assert ReleaseContents.from_json(CONTENTS.to_json()) == CONTENTS


def test_a_package_is_spelled_once() -> None:
    packages = tuple((f"package-{number}", "1.0") for number in range(100))
    artifacts = {
        (f"service-{number}", TARGET): ArtifactContents(length=1, unpacked=1, packages=packages)
        for number in range(30)
    }
    assert len(ReleaseContents(release="1.0", artifacts=artifacts).to_json()) < 16_000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "2.0", "needs Venvoy >= 2.0"),
        (("release",), "../1", "cannot name a release"),
        (("packages", 0), ["pbr"], "is not a name and a version"),
        (("packages", 0), ["pbr", "1\n"], "control characters"),
        (("services", "nova", TARGET, "packages"), [9], "9 is no package's number"),
        (("services", "nova", TARGET, "length"), -1, "out of range"),
        (("services", "nova"), {"x": {}}, "is not a target"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[Any, ...], value: Any, message: str) -> None:
    document = json.loads(CONTENTS.to_json())
    *parents, last = path
    place = document
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(InvalidInput, match=message.replace(".", r"\.")):
        ReleaseContents.from_json(canonical_json(document))
