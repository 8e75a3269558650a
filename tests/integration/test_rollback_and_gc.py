"""Going back, and cleaning up: without network, without losing the host's files or a running process's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distributor.host.retention import tree_size
from distributor.siblings import lock_path
from distributor.system.file_lock import hold_lock
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


_DIE_WHILE_REMOVING = """
import os, shutil, sys
import venvoy

real = shutil.rmtree
def removes_some(path, *arguments, **options):
    real(path / "lib")
    os.kill(os.getpid(), 9)

shutil.rmtree = removes_some
venvoy.main(sys.argv[1:])
"""


def test_what_a_killed_gc_left_is_swept_by_the_next(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    site.install("2.0.0", dest)
    gc = ["gc", str(tmp_path), "--keep", "0", "--json"]
    killed = run([sys.executable, "-c", _DIE_WHILE_REMOVING, *gc])
    assert killed.returncode == -9
    (left,) = litter(tmp_path)
    assert not left.startswith(".demo.venvoy-old-")
    before = snapshot(tmp_path, times=True)
    dry = json.loads(venvoy(*gc, "--dry-run").stdout)
    assert [(Path(tree["path"]).name, tree["removed"]) for tree in dry["trees"]] == [(left, True)]
    assert dry["freed_bytes"] > 0
    assert snapshot(tmp_path, times=True) == before
    done = json.loads(venvoy(*gc).stdout)
    assert done["trees"] == dry["trees"]
    assert litter(tmp_path) == []
    assert json.loads(venvoy(*gc).stdout)["trees"] == []
    assert venvoy("rollback", dest).returncode == 5  # nothing half-removed to go back to


def test_a_dry_run_neither_waits_for_a_living_run_nor_counts_its_tree(
    site: SmallSite, tmp_path: Path
) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    site.install("2.0.0", dest)
    staged = tmp_path / ".demo.venvoy-0123456789abcdef"
    staged.mkdir()
    with hold_lock(lock_path(dest), what="demo"):
        dry = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--dry-run", "--json").stdout)
    assert [tree["release"] for tree in dry["trees"]] == ["1.0.0"]
    dry = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--dry-run", "--json").stdout)
    assert [tree["release"] for tree in dry["trees"]] == ["1.0.0", ""]
    assert staged.is_dir()


def test_one_venv_that_fails_does_not_keep_the_others(site: SmallSite, tmp_path: Path) -> None:
    for name in ("a", "b"):
        for release in ("1.0.0", "2.0.0"):
            site.install(release, tmp_path / name)
    lock = tmp_path / ".a.venvoy-lock"
    lock.unlink()
    lock.mkdir()
    done = venvoy("gc", tmp_path, "--keep", "0", "--json")
    said = f"cannot clean up beside {tmp_path}/a: Is a directory ({lock})"
    assert (done.returncode, done.stderr) == (4, f"venvoy: {said}\n")
    answer = json.loads(done.stdout)
    assert answer["failed"] == [{"path": str(tmp_path / "a"), "error": said}]
    assert [(tree["path"].split(".")[1], tree["removed"]) for tree in answer["trees"]] == [("b", True)]
    lock.rmdir()
    assert venvoy("gc", tmp_path, "--keep", "0").returncode == 0
    assert litter(tmp_path) == []


def test_a_folder_reached_by_a_link_keeps_what_it_should(site: SmallSite, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "venvs").symlink_to("real")
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    site.install("2.0.0", dest)
    for place in (tmp_path / "venvs", tmp_path / "real", dest):
        (tree,) = json.loads(venvoy("gc", place, "--json").stdout)["trees"]
        assert (tree["removed"], tree["why"]) == (False, "one of the last 1")


def test_links_and_files_of_such_names_are_not_ours(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (tmp_path / "outside").mkdir()
    (tmp_path / ".demo.venvoy-old-0123456789abcdef").symlink_to("outside")
    (tmp_path / ".demo.venvoy-old-0123456789abcdee").touch()
    assert json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)["trees"] == []
    assert (tmp_path / "outside").is_dir()
    assert len(litter(tmp_path)) == 2


def test_bytes_that_others_link_to_are_not_freed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    empty = tree_size(tree)
    for name in ("own", "a/twice", "shared"):
        (tree / name).write_bytes(bytes([1]) * 65536)
    (tree / "once").hardlink_to(tree / "a/twice")
    (tmp_path / "elsewhere").hardlink_to(tree / "shared")
    assert tree_size(tree) - empty == 2 * 65536
