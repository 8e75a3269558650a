"""``venvoy diff``: releases, artifacts, builds and hosts, in text, JSON and Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from builder.pipeline import BuiltArtifact
from tests.small_site import SmallSite, venvoy
from tests.wheel_factory import make_wheel


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes], licence: str) -> Path:
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n"
    return make_wheel(folder / version, name, version, files, metadata=metadata.encode())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    """Release 2.0 has another lib, one package less and one more; its service *web* is that of 1.0."""
    site = SmallSite(tmp_path_factory.mktemp("diff"), described=True)
    wheels = site.directory / "wheels"
    api = wheel(wheels, "api", "1.0", {"api.py": b""}, "Apache-2.0")
    web = wheel(wheels, "web", "1.0", {"web.py": b""}, "Apache-2.0")
    old = wheel(wheels, "lib", "1.0", {"lib.py": b"x = 1\n", "same.py": b"", "gone.py": b""}, "MIT")
    new = wheel(wheels, "lib", "2.0", {"lib.py": b"x = 2\n", "same.py": b"", "new.py": b""}, "GPL-3.0-only")
    left, right = (wheel(wheels, name, "1.0", {f"{name}.py": b""}, "MIT") for name in ("left", "right"))
    shared = site.build("1.0", "web", [web])
    releases: dict[str, list[BuiltArtifact]] = {
        "1.0": [site.build("1.0", "api", [api, old, left]), shared],
        "2.0": [site.build("2.0", "api", [api, new, right], barrier="contract"), shared],
    }
    for release, built in releases.items():
        site.publish(*built)
        site.pin(release, *built)
    return site


def options(site: SmallSite) -> list[str]:
    return ["--store", str(site.store), "--root", str(site.root), "--state", str(site.state)]


def diff(site: SmallSite, *arguments: str | Path) -> dict[str, Any]:
    done = venvoy("diff", *arguments, *options(site), "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def packages(change: dict[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    return {
        item["name"]: tuple(item[side] and item[side]["version"] for side in ("old", "new"))
        for item in change["packages"]
    }


def label(site: SmallSite, release: str) -> str:
    (manifest,) = (site.directory / "build" / release / "artifacts/api").glob("*.json")
    return manifest.stem


LIBRARIES = {"lib": ("1.0", "2.0"), "left": ("1.0", None), "right": (None, "1.0")}


def test_releases_differ_in_what_they_pin(site: SmallSite) -> None:
    document = diff(site, "1.0", "2.0")
    (change,) = document["artifacts"]
    assert change["service"] == "api"
    assert packages(change) == LIBRARIES
    assert [item["service"] for item in document["unchanged"]] == ["web"]
    lib = next(item for item in change["packages"] if item["name"] == "lib")
    assert (lib["old"]["licence"], lib["new"]["licence"]) == ("MIT", "GPL-3.0-only")
    assert lib["old"]["length"] > 0
    assert "files" not in change
    assert diff(site, "1.0", "1.0")["artifacts"] == []
    assert diff(site, "1.0", "2.0", "--service", "web")["artifacts"] == []


@pytest.mark.parametrize("kind", ["labels", "manifests", "folders"])
def test_artifacts_and_builds_differ_as_releases_do(site: SmallSite, kind: str) -> None:
    build = site.directory / "build"
    names = {
        "labels": [label(site, "1.0"), label(site, "2.0")],
        "manifests": [
            build / f"{release}/artifacts/api/{label(site, release)}.json" for release in ("1.0", "2.0")
        ],
        "folders": [build / "1.0", build / "2.0", "--service", "api"],
    }[kind]
    (change,) = diff(site, *names)["artifacts"]
    assert packages(change) == LIBRARIES
    lib = next(item for item in change["packages"] if item["name"] == "lib")
    assert lib["new"]["licence"] == "GPL-3.0-only"


def test_a_build_that_was_published_is_the_release(site: SmallSite) -> None:
    document = diff(site, "2.0", site.directory / "build/2.0", "--service", "api")
    assert document["artifacts"] == []
    assert [item["service"] for item in document["unchanged"]] == ["api"]


def changed_files(change: dict[str, Any]) -> dict[str, str]:
    return {
        item["path"].rpartition("/")[2]: "changed"
        if item["old"] and item["new"]
        else "new"
        if item["new"]
        else "gone"
        for item in change["files"]
        if ".dist-info" not in item["path"]
    }


def test_files_are_those_of_packages_that_differ(site: SmallSite) -> None:
    (change,) = diff(site, "1.0", "2.0", "--files")["artifacts"]
    expected = {"lib.py": "changed", "gone.py": "gone", "new.py": "new", "left.py": "gone", "right.py": "new"}
    assert changed_files(change) == expected
    assert not [item for item in change["files"] if item["path"].endswith((".pyc", "RECORD"))]


def test_a_host_differs_in_the_services_it_has(site: SmallSite, tmp_path: Path) -> None:
    venvs = tmp_path / "venvs"
    site.install("1.0", venvs / "api-1.0", "--link", str(venvs / "api"), service="api")
    same = diff(site, "1.0", venvs)
    assert same["artifacts"] == []
    assert [item["service"] for item in same["unchanged"]] == ["api"]
    document = diff(site, venvs, "2.0", "--files")
    (change,) = document["artifacts"]
    assert packages(change) == LIBRARIES
    assert changed_files(change)["lib.py"] == "changed"
    assert "same.py" not in changed_files(change)
    lib = next(item for item in change["packages"] if item["name"] == "lib")
    assert lib["old"]["licence"] == "MIT"


def test_text_and_markdown_say_it_for_people(site: SmallSite) -> None:
    text = venvoy("diff", "1.0", "2.0", *options(site)).stdout
    assert text.startswith("1.0 -> 2.0: 1 changed, 1 unchanged (services x targets)\n")
    assert re.search(r"^  lib +1\.0 -> 2\.0 +[+-]\d+ B  MIT -> GPL-3\.0-only$", text, re.MULTILINE)
    assert "going back passes a rollback barrier" in text
    notes = venvoy("diff", "1.0", "2.0", "--format", "markdown", *options(site)).stdout
    assert "| lib | 1.0 | 2.0 | MIT -\\> GPL-3.0-only | api |" in notes
    assert "databases do not roll back" in notes


def test_what_is_not_there_is_named(site: SmallSite, tmp_path: Path) -> None:
    done = venvoy("diff", "1.0", "9.9", *options(site))
    assert done.returncode == 5
    assert (
        "'9.9' is no release, channel or artifact of the store (its last releases: 1.0, 2.0)" in done.stderr
    )
    done = venvoy("diff", "1.0", tmp_path / "absent", *options(site))
    assert done.returncode == 5
    (tmp_path / "empty").mkdir()
    done = venvoy("diff", "1.0", tmp_path / "empty", *options(site))
    assert done.returncode == 5
    assert "holds neither artifacts of a build nor venvs" in done.stderr


def test_a_channel_stands_for_its_release(site: SmallSite) -> None:
    keys = ("--store", site.store, "--keys", site.keys)
    assert venvoy("promote", "1.0", "stable", "--why", "it works", *keys).returncode == 0
    document = diff(site, "stable", "2.0")
    assert document["old"] == "1.0 (stable)"
    assert packages(document["artifacts"][0]) == LIBRARIES


def test_builds_need_no_store(site: SmallSite) -> None:
    build = site.directory / "build"
    done = venvoy("diff", build / "1.0", build / "2.0", "--service", "api")
    assert done.returncode == 0, done.stderr
    assert "lib" in done.stdout


def test_altered_layers_are_refused(site: SmallSite) -> None:
    (tarball,) = (site.store / "artifacts/api").glob(f"{label(site, '1.0')}.tar.zst")
    good = tarball.read_bytes()
    bad = bytearray(good)
    for place in range(len(good) // 4, len(good), 7):
        bad[place] ^= 1
    tarball.write_bytes(bad)
    try:
        done = venvoy("diff", "1.0", "2.0", "--files", *options(site))
        assert done.returncode == 3
        assert done.stdout == ""
    finally:
        tarball.write_bytes(good)
