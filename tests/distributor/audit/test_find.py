"""``venvoy find``: releases, services and hosts that hold a package, without asking anybody else."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from distributor.stores.server import StoreServer
from manifests.errors import InvalidInput
from manifests.release_order import in_order
from manifests.searching import Search, read_wanted
from tests.small_site import SmallSite, venvoy
from tests.wheel_factory import make_wheel


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    """Three releases of two services: 1.0 and 1.9 have lib 1.0, 1.10 has lib 2.0 in one of them."""
    site = SmallSite(tmp_path_factory.mktemp("find"))
    libs = {version: make_wheel(site.directory / "libs", "lib", version) for version in ("1.0", "2.0")}
    for release, versions in (("1.0", ("1.0", "1.0")), ("1.9", ("1.0", "1.0")), ("1.10", ("2.0", "1.0"))):
        built = []
        for service, version in zip(("api", "web"), versions, strict=True):
            wheel = make_wheel(site.directory / "wheels", service, "1.0")
            built.append(site.build(release, service, [libs[version], wheel]))
        site.publish(*built)
        site.pin(release, *built)
    return site


def find(site: SmallSite, *arguments: str | Path) -> dict[str, Any]:
    done = venvoy(
        "find", *arguments, "--store", site.store, "--root", site.root, "--state", site.state, "--json"
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def places(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["release"], item["service"], item["version"]) for item in document["releases"]]


def test_it_names_every_release_and_service_in_order(site: SmallSite) -> None:
    assert places(find(site, "Lib<2")) == [
        ("1.0", "api", "1.0"),
        ("1.0", "web", "1.0"),
        ("1.9", "api", "1.0"),
        ("1.9", "web", "1.0"),
        ("1.10", "web", "1.0"),
    ]
    assert places(find(site, "lib>=2")) == [("1.10", "api", "2.0")]
    assert places(find(site, "lib>=2", "api")) == [
        *(("1.0", "api", "1.0"), ("1.9", "api", "1.0")),
        *(("1.10", "api", "2.0"), ("1.10", "api", "1.0")),
    ]
    assert places(find(site, "lib", "--release", "1.10")) == [("1.10", "api", "2.0"), ("1.10", "web", "1.0")]
    assert places(find(site, "absent")) == []


def test_people_get_spans(site: SmallSite) -> None:
    options = ("--store", site.store, "--root", site.root, "--state", site.state)
    done = venvoy("find", "lib", *options)
    assert done.stdout.splitlines() == [
        *("lib 1.0", "  api  1.0, 1.9", "  web  1.0, 1.9, 1.10"),
        *("lib 2.0", "  api  1.10"),
    ]
    assert venvoy("find", "lib>2", *options).stdout == "none of 3 releases holds it\n"
    done = venvoy("find", "lib", "--expect-none", *options)
    assert done.returncode == 9
    assert "held by" in done.stderr


def test_hosts_are_searched_by_receipts_here_and_collected(site: SmallSite, tmp_path: Path) -> None:
    venvs = tmp_path / "venvs"
    site.install("1.9", venvs / "api-1.9", service="api")
    (here,) = find(site, "lib<2", "--receipts", venvs)["hosts"]
    assert (here["service"], here["release"], here["path"]) == ("api", "1.9", str(venvs / "api-1.9"))
    collected = tmp_path / "collected"
    collected.mkdir()
    status = venvoy("status", venvs, "--json").stdout
    (collected / "infra1.json").write_text(status)
    foreign = json.loads(status)
    foreign["venvs"][0]["manifest_sha256"] = "0" * 64
    (collected / "infra2.json").write_text(json.dumps(foreign))
    document = find(site, "lib<2", "--receipts", collected)
    assert [(item["host"], item["version"]) for item in document["hosts"]] == [("infra1", "1.0")]
    assert [item["host"] for item in document["unknown"]] == ["infra2"]
    assert find(site, "lib>=2", "--receipts", collected)["hosts"] == []


def test_releases_without_contents_are_read_by_their_manifests(site: SmallSite) -> None:
    before = find(site, "lib")
    hidden = site.directory / "hidden"
    shutil.move(site.store / "contents", hidden)
    shutil.rmtree(site.state)
    try:
        assert find(site, "lib") == before
    finally:
        shutil.move(hidden, site.store / "contents")


def test_altered_contents_are_refused(site: SmallSite) -> None:
    shutil.rmtree(site.state)
    victim = sorted((site.store / "contents").iterdir())[0]
    good = victim.read_bytes()
    other = sorted((site.store / "contents").iterdir())[1].read_bytes()
    victim.write_bytes(other)
    try:
        done = venvoy("find", "lib", "--store", site.store, "--root", site.root, "--state", site.state)
        assert done.returncode == 3
        assert "is not what the pins of release" in done.stderr
    finally:
        victim.write_bytes(good)


def test_what_was_read_once_is_found_while_the_store_is_down(site: SmallSite, tmp_path: Path) -> None:
    server = StoreServer(site.store, ("127.0.0.1", 0), log=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options = ("--store", server.url, "--root", site.root, "--state", tmp_path / "state", "--json")
    try:
        up = venvoy("find", "lib<2", *options)
    finally:
        server.stop()
        thread.join()
    assert up.returncode == 0, up.stderr
    down = venvoy("find", "lib<2", *options)
    assert down.returncode == 0, down.stderr
    assert down.stdout == up.stdout
    assert len(json.loads(up.stdout)["releases"]) == 5


@pytest.mark.parametrize("text", ["", "lib[extra]", "lib ; sys_platform == 'linux'", "lib @ https://x", "<2"])
def test_only_names_and_versions_can_be_looked_for(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_wanted([text])


def test_versions_that_cannot_be_compared_are_found_and_prereleases_count() -> None:
    search = Search(read_wanted(["lib<2", "lib==3.*"]))
    packages = [("lib", version) for version in ("1.9", "2.0rc1", "2.0", "3.1.dev4", "0badc0ffee")]
    assert [version for _, version in search.hits(packages)] == ["1.9", "3.1.dev4", "0badc0ffee"]


def test_releases_stand_in_the_order_of_their_versions() -> None:
    names = ["2026.1.10", "2026.1.9", "2026.1.9rc1", "master-2", "master-10", "2025.2.0"]
    assert in_order(names) == ["master-2", "master-10", "2025.2.0", "2026.1.9rc1", "2026.1.9", "2026.1.10"]
