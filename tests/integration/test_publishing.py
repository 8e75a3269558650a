"""Publishing from the outside: patches by default, several artifacts and several publishers at once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from manifests.documents import canonical_json
from manifests.patches import MEMORY_LIMIT, needed_memory
from tests.small_site import PROJECT, SmallSite, venvoy

if TYPE_CHECKING:
    from pathlib import Path

    from builder.pipeline import BuiltArtifact

BIG = random.Random(1).randbytes(200_000)


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path / "site")


def build(site: SmallSite, release: str, more: bytes = b"", service: str = "demo") -> BuiltArtifact:
    return site.release(release, service, files={f"{service}/big.bin": BIG + more}, publish=False)


def publish(site: SmallSite, *releases: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    folders = [site.directory / "build" / release for release in releases]
    done = venvoy("publish", *folders, "--store", site.store, "--keys", site.keys, *options, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def bases(document: dict[str, Any]) -> set[str]:
    """Return the twelve digits of what patches were made from."""
    return {path.rpartition("-from-")[2].removesuffix(".json.gz") for path in document["patches"]}


def released(site: SmallSite, release: str, more: bytes) -> str:
    built = build(site, release, more)
    publish(site, release, options=("--no-patches",))
    site.pin(release, built)
    return str(built.artifact.identity[:12])


def test_patches_are_made_from_the_newest_release(site: SmallSite) -> None:
    released(site, "9", b"a")
    tenth = released(site, "10", b"ab")
    build(site, "11", b"abc")
    assert bases(publish(site, "11")) == {tenth}


def test_patches_are_made_from_what_the_channels_mean(site: SmallSite) -> None:
    first, second = released(site, "1", b"a"), released(site, "2", b"ab")
    released(site, "3", b"abc")
    for channel, release in (("stable", "1"), ("candidate", "2")):
        promoted = venvoy(
            *("promote", release, channel, "--store", site.store, "--keys", site.keys, "--why", "a test")
        )
        assert promoted.returncode == 0, promoted.stderr
    build(site, "4", b"abcd")
    assert bases(publish(site, "4")) == {first, second}


def test_a_first_release_has_nothing_to_be_patched_from(site: SmallSite) -> None:
    build(site, "1")
    document = publish(site, "1")
    assert (document["patches"], document["notes"]) == ({}, [])


def test_no_patches_where_nobody_wants_them(site: SmallSite) -> None:
    released(site, "1", b"a")
    build(site, "2", b"ab")
    assert publish(site, "2", options=("--no-patches",))["patches"] == {}
    done = venvoy(
        *("publish", site.directory / "build/2", "--store", site.store, "--keys", site.keys),
        *("--no-patches", "--patch-from", "1"),
    )
    assert done.returncode == 2
    assert "contradict" in done.stderr


def test_what_saves_nothing_is_not_published(site: SmallSite) -> None:
    site.release("1", files={"demo/noise.bin": os.urandom(200_000)})
    site.release("2", files={"demo/noise.bin": os.urandom(200_000)}, publish=False)
    assert publish(site, "2")["patches"] == {}
    assert not (site.store / "patches").exists()


def test_what_takes_too_much_memory_is_not_published() -> None:
    """A base, its copy in zstd, and the result, all within the limit."""
    assert needed_memory(80 * 1024**2, 80 * 1024**2) <= MEMORY_LIMIT
    assert needed_memory(90 * 1024**2, 90 * 1024**2) > MEMORY_LIMIT


def test_several_artifacts_at_once_and_again(site: SmallSite) -> None:
    for service in ("one", "two", "three", "four"):
        build(site, "1", service=service)
    first = publish(site, "1", options=("--jobs", "4"))
    assert len([path for path in first["published"] if path.startswith("artifacts/")]) == 4
    before = sorted(site.store.rglob("*"))
    again = publish(site, "1", options=("--jobs", "4"))
    assert again["published"] == []
    assert sorted(site.store.rglob("*")) == before


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_publishers_at_once_lose_nothing(site: SmallSite, rounds: int) -> None:
    """Three publishers, each from a machine of its own; what each published is there at the end."""
    names = [f"{publisher}.{number}" for publisher in range(3) for number in range(rounds)]
    for name in names:
        build(site, name, service=f"s{name[0]}")
    script = "for build in {builds}; do {venvoy} publish $build --store {store} --keys {keys} || exit 1; done"
    running = []
    for publisher in range(3):
        keys = site.directory / f"keys-{publisher}"
        subprocess.run(["cp", "-r", site.keys, keys], check=True)
        mine = [name for name in names if name.startswith(f"{publisher}.")]
        text = script.format(
            builds=" ".join(str(site.directory / "build" / name) for name in mine),
            venvoy=f"{sys.executable} -m venvoy",
            store=site.store,
            keys=keys,
        )
        running.append(subprocess.Popen(["sh", "-c", text], cwd=PROJECT, stdout=subprocess.DEVNULL))
    assert [process.wait(300) for process in running] == [0, 0, 0]
    for name in names:
        assert publish(site, name)["published"] == []


def test_other_bytes_under_a_published_name_are_refused(site: SmallSite) -> None:
    built = build(site, "1", b"a")
    publish(site, "1")
    manifest = json.loads(built.manifest.read_bytes())
    manifest["checks"]["timeout"] = 61
    built.manifest.write_bytes(canonical_json(manifest))
    done = venvoy("publish", site.directory / "build/1", "--store", site.store, "--keys", site.keys)
    assert done.returncode == 9
    assert "other content" in done.stderr
