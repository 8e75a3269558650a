"""Provenance: an in-toto statement that names inputs, builder, tools and times."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from manifests import __version__
from manifests.companions import check_statement
from manifests.documents import sha256_file
from manifests.errors import InvalidInput
from tests.small_site import SmallSite
from tests.wheel_factory import make_wheel, sha256


def test_a_build_says_what_went_in_who_built_it_with_what_and_when(tmp_path: Path) -> None:
    site = SmallSite(tmp_path, described=True)
    wheel = make_wheel(tmp_path, "demo", "1.0")
    built = site.build("1.0", "demo", [wheel])
    stem = built.artifact.stem
    path = site.directory / f"build/1.0/provenance/demo/{stem}.statement.json"
    value = json.loads(path.read_bytes())
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    assert value["subject"] == [
        {"name": built.artifact.tarball_path, "digest": {"sha256": sha256_file(built.tarball)}},
        {"name": f"artifacts/demo/{stem}.json", "digest": {"sha256": sha256_file(built.manifest)}},
    ]
    definition, run = value["predicate"]["buildDefinition"], value["predicate"]["runDetails"]
    assert definition["externalParameters"]["release"] == "1.0"
    inputs = {item["name"]: item for item in definition["resolvedDependencies"]}
    assert inputs[wheel.name]["digest"] == {"sha256": sha256(wheel)}
    lock = site.directory / "locks/1.0/pylock.demo.toml"
    assert inputs[lock.name]["digest"] == {"sha256": sha256_file(lock)}
    assert run["builder"]["id"] == "urn:venvoy:builder:tests"
    assert run["builder"]["version"]["venvoy"] == __version__
    begin, end = (
        datetime.fromisoformat(run["metadata"][key].rstrip("Z")) for key in ("startedOn", "finishedOn")
    )
    assert begin <= end
    assert str(tmp_path) not in path.read_text()


def test_a_statement_counts_for_its_own_artifact_alone(tmp_path: Path) -> None:
    site = SmallSite(tmp_path, described=True)
    one = site.build("1.0", "demo", [make_wheel(tmp_path / "1", "demo", "1.0")])
    two = site.build("2.0", "demo", [make_wheel(tmp_path / "2", "demo", "2.0")])
    data = (site.directory / f"build/1.0/provenance/demo/{one.artifact.stem}.statement.json").read_bytes()
    check_statement(data, one.artifact, what="statement")
    with pytest.raises(InvalidInput, match=r"it is of another artifact than demo-2\.0"):
        check_statement(data, two.artifact, what="statement")
    other = data.replace(b"slsa.dev/provenance/v1", b"slsa.dev/provenance/v2")
    with pytest.raises(InvalidInput, match="no SLSA provenance"):
        check_statement(other, one.artifact, what="statement")
