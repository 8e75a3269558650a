"""What ``status`` and ``gc`` tell of a host, held trees, and a host with a thousand venvs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.small_site import HOST, SmallSite, litter, venvoy

MANY = 1000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    for release in ("1.0.0", "2.0.0", "3.0.0"):
        made.release(release)
    return made


def document(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = venvoy(*arguments, "--json")
    assert done.returncode == code, done.stderr + done.stdout
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def _backdate(venv: Path) -> None:
    """Let the last switch be old: a process that starts within its second may have come before it."""
    path = venv / ".venvoy/receipt.json"
    value = json.loads(path.read_text())
    value["history"][-1]["when"] = "2026-01-01T00:00:00+00:00"
    path.write_text(json.dumps(value))


def test_status_tells_all_of_a_venv(site: SmallSite, tmp_path: Path) -> None:
    dest, link = tmp_path / "demo", tmp_path / "current"
    for release in ("1.0.0", "2.0.0", "3.0.0"):
        site.install(release, dest, "--link", str(link))
    document("hold", dest, "--release", "1.0.0", "--why", "the auditors come")
    _backdate(dest)
    process = subprocess.Popen([str(link / "bin/python"), "-c", "input()"], stdin=subprocess.PIPE, cwd="/")
    try:
        (venv,) = document("status", tmp_path)["venvs"]
        table = venvoy("status", tmp_path).stdout
        (same,) = document("status", link)["venvs"]
    finally:
        process.communicate(b"\n")
    assert (venv["active"], venv["pinned"], venv["path"]) == ("3.0.0", False, str(dest))
    assert (venv["links"], venv["pids"]) == ([str(link)], [process.pid])
    assert [(tree["release"], tree["pinned"], tree["pids"]) for tree in venv["previous"]] == [
        ("2.0.0", False, []),
        ("1.0.0", True, []),
    ]
    assert all(Path(tree["path"]).is_dir() and tree["size"] > 0 for tree in venv["previous"])
    assert venv["previous"][1]["held"]["why"] == "the auditors come"
    assert venv["size"] == json.loads((dest / ".venvoy/receipt.json").read_text())["unpacked_size"] > 0
    assert same == venv
    header, row = table.splitlines()
    assert header.split()[:5] == ["SERVICE", "VERSION", "RELEASE", "PREVIOUS", "PINNED"]
    assert row.split()[:6] == ["demo", "3.0.0", "3.0.0", "2.0.0,", "1.0.0", "1.0.0"]
    assert row.split()[-6:] == ["1", "process", HOST.version, str(dest), "<-", str(link)]


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    for command in ("status", "gc"):
        done = venvoy(command, tmp_path / "nowhere")
        assert (done.returncode, f"{tmp_path}/nowhere is not a directory" in done.stderr) == (5, True)


def test_gc_keeps_what_is_held_until_it_is_let_go(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    first = document("hold", dest)
    assert (first["changed"], first["release"], first["tree"]) == (True, "1.0.0", str(dest))
    assert document("hold", dest)["changed"] is False
    assert venvoy("verify", dest).returncode == 0
    site.install("2.0.0", dest)
    held = document("gc", tmp_path, "--keep", "0")["trees"]
    assert [tree["removed"] for tree in held] == [False]
    assert held[0]["why"].startswith("held by ")
    assert document("hold", dest, "--off")["changed"] is False  # the active one, which is not held
    assert document("hold", dest, "--off", "--release", "1.0.0")["changed"] is True
    assert [tree["removed"] for tree in document("gc", tmp_path, "--keep", "0")["trees"]] == [True]
    missing = venvoy("hold", dest, "--release", "9.9")
    assert (missing.returncode, "(there: 2.0.0)" in missing.stderr) == (5, True)
    assert venvoy("hold", tmp_path).returncode == 5
    assert venvoy("hold", dest, "--off", "--why", "x").returncode == 2


def test_a_hold_that_cannot_be_read_holds(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (dest / ".venvoy/held").write_text("{")
    site.install("2.0.0", dest)
    (tree,) = document("gc", tmp_path, "--keep", "0")["trees"]
    assert (tree["removed"], "cannot be read" in tree["why"]) == (False, True)


def test_files_of_ours_are_not_taken_for_added_ones(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    for name in ("held", ".tmp-0123456789abcdef", "merge.json"):
        (dest / ".venvoy" / name).write_text("{}")
    assert document("verify", dest)["clean"] is True
    (dest / ".venvoy/other").touch()
    assert document("verify", dest, code=3)["added"] == [".venvoy/other"]


def _usage(command: list[str | Path]) -> tuple[float, dict[str, Any]]:
    """Run a command; return its CPU seconds, all of the process, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    value = document(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, value


def _multiply(dest: Path, previous: list[Path], count: int) -> None:
    """Make *count* venvs like *dest*, each with its replaced trees and a link, without their packages."""
    for number in range(count):
        copy = dest.parent / f"venv{number}"
        trees = [(dest, copy)]
        trees += [(tree, copy.with_name(tree.name.replace(".demo.", f".venv{number}."))) for tree in previous]
        for source, target in trees:
            (target / ".venvoy").mkdir(parents=True)
            (target / "bin").mkdir()
            (target / "bin/python").symlink_to(HOST.executable)
            for name in ("manifest.json", "receipt.json"):
                text = (source / ".venvoy" / name).read_text()
                (target / ".venvoy" / name).write_text(text.replace(f'"{dest}"', f'"{copy}"'))
        (dest.parent / f"link{number}").symlink_to(copy.name)


@pytest.mark.parametrize("count", [30, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_host_of_many_venvs_is_looked_at_once(
    site: SmallSite, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    previous = [Path(site.install(release, dest)["replaced"]) for release in ("2.0.0", "3.0.0")]
    _backdate(dest)
    _multiply(dest, previous, count)
    shutil.rmtree(dest)
    for tree in previous:
        shutil.rmtree(tree)
    user = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, "A": f"{tmp_path}/link7"}
    )
    try:
        status_cpu, status = _usage(["status", tmp_path])
        before = litter(tmp_path)
        dry_cpu, dry = _usage(["gc", tmp_path, "--dry-run"])
        assert litter(tmp_path) == before
    finally:
        user.communicate(b"\n")
    with capsys.disabled():
        print(f"\n{count} venvs: status {status_cpu:.2f} s CPU, gc --dry-run {dry_cpu:.2f} s CPU")
    venvs = status["venvs"]
    assert len(venvs) == count
    assert all(len(venv["previous"]) == 2 and len(venv["links"]) == 1 for venv in venvs)
    assert [Path(venv["path"]).name for venv in venvs if user.pid in venv["pids"]] == ["venv7"]
    removed = [tree for tree in dry["trees"] if tree["removed"]]
    assert (len(dry["trees"]), len(removed)) == (2 * count, count)
    assert {tree["release"] for tree in removed} == {"1.0.0"}
    assert dry["freed_bytes"] == sum(tree["size"] for tree in removed) > 0
