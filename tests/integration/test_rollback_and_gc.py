"""Going back, and cleaning up: without network, without losing the host's files or a running process's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from manifests.artifact import MutablePath
from tests.small_site import SmallSite, litter, purelib, run, snapshot, venvoy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    keep = [MutablePath(path="etc/demo")]
    for release in ("1.0.0", "2.0.0", "3.0.0"):
        made.release(release, etc={"a.conf": release.encode()}, mutable=keep)
    made.release("4.0.0", mutable=keep, barrier="the database is contracted")
    return made


def test_rollback_goes_back_without_a_store_and_forth_again(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (dest / "etc/demo/key").write_text("secret\n")
    site.install("2.0.0", dest)
    (dest / "etc/demo/later").write_text("made under 2\n")
    done = venvoy("rollback", dest, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["from"], answer["to"]) == ("2.0.0", "1.0.0")
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert (dest / "etc/demo/key").read_text() == "secret\n"
    assert (dest / "etc/demo/later").read_text() == "made under 2\n"
    assert (dest / "etc/demo/a.conf").read_text() == "1.0.0"
    assert venvoy("verify", dest).returncode == 0
    assert venvoy("rollback", dest, "--to", "2.0.0").returncode == 0
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 2.0.0\n"
    history = json.loads((dest / ".venvoy/receipt.json").read_text())["history"]
    assert [(line["action"], line["release"]) for line in history] == [
        ("install", "1.0.0"),
        ("install", "2.0.0"),
        ("rollback", "1.0.0"),
        ("rollback", "2.0.0"),
    ]
    assert site.install("2.0.0", dest)["changed"] is False


def test_rollback_refuses_what_is_not_whole_or_not_there(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    done = venvoy("rollback", dest)
    assert (done.returncode, "an earlier tree is not kept" in done.stderr) == (5, True)
    replaced = Path(site.install("2.0.0", dest)["replaced"])
    done = venvoy("rollback", dest, "--to", "9.9.9")
    assert (done.returncode, "kept: 1.0.0" in done.stderr) == (5, True)
    (purelib(replaced) / "demo/main.py").write_text("")
    before = snapshot(dest, times=True)
    done = venvoy("rollback", dest)
    assert (done.returncode, "is not whole" in done.stderr) == (3, True)
    assert snapshot(dest, times=True) == before


def test_rollback_over_a_barrier_asks_for_force(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    site.install("4.0.0", dest)
    done = venvoy("rollback", dest)
    assert (done.returncode, "the database is contracted" in done.stderr) == (9, True)
    assert venvoy("rollback", dest, "--force").returncode == 0


def test_gc_keeps_the_last_and_removes_the_rest(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    for release in ("1.0.0", "2.0.0", "3.0.0"):
        site.install(release, dest)
    (tmp_path / "other").mkdir()
    (tmp_path / ".demo.venvoy-old-notours").mkdir()
    before = litter(tmp_path)
    dry = json.loads(venvoy("gc", tmp_path, "--dry-run", "--json").stdout)
    assert [
        (tree["release"], tree["removed"]) for tree in sorted(dry["trees"], key=lambda t: t["release"])
    ] == [
        ("1.0.0", True),
        ("2.0.0", False),
    ]
    assert litter(tmp_path) == before
    done = json.loads(venvoy("gc", tmp_path, "--json").stdout)
    assert done["freed_bytes"] == dry["freed_bytes"] > 0
    assert len(litter(tmp_path)) == 2
    assert (tmp_path / "other").is_dir()
    assert (tmp_path / ".demo.venvoy-old-notours").is_dir()
    assert venvoy("rollback", dest, "--to", "2.0.0").returncode == 0
    assert json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)["freed_bytes"] > 0
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 2.0.0\n"


@pytest.mark.parametrize("how", ["cwd", "open file", "argument"])
def test_gc_keeps_a_tree_that_a_process_uses(site: SmallSite, tmp_path: Path, how: str) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    command = {
        "cwd": ["sleep", "60"],
        "open file": ["sh", "-c", f"exec 9<{purelib(dest)}/demo/data.txt; exec sleep 60"],
        "argument": [str(dest / "bin/python"), "-c", "import time; time.sleep(60)"],
    }[how]
    process = subprocess.Popen(command, cwd=dest if how == "cwd" else "/")
    try:
        result = site.install("2.0.0", dest)
        assert process.pid in result["restart_pids"]
        kept = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)
        assert [tree["removed"] for tree in kept["trees"]] == [False]
        assert "in use by process" in kept["trees"][0]["why"]
    finally:
        process.kill()
        process.wait()
    gone = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)
    assert [tree["removed"] for tree in gone["trees"]] == [True]
    assert litter(tmp_path) == []
