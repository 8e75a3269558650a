"""In-place upgrades: the exchange, and what of the host is carried over."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from distributor.host.mutable import catch_up, keep_pristine, merge
from manifests.artifact import Checks, MutablePath
from tests.small_site import SmallSite, litter, purelib, run, venvoy

ETC = {
    "same.conf": b"same\n",
    "moving.conf": b"one\n",
    "clash.conf": b"one\n",
    "dropped.conf": b"d\n",
    "gone.conf": b"g\n",
}
NEW = {"same.conf": b"same\n", "moving.conf": b"two\n", "clash.conf": b"two\n", "fresh.conf": b"fresh\n"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    keep = [MutablePath(path="etc/demo")]
    made.release("1.0.0", etc=ETC, mutable=keep)
    made.release("2.0.0", etc=NEW, mutable=keep, files={"demo/late.py": b"WHERE = 'two'\n"})
    made.release("2.0.0+new", etc=NEW, mutable=[MutablePath(path="etc/demo", policy="new")])
    made.release(
        "3.0.0", checks=Checks(imports=("demo.broken",)), files={"demo/broken.py": b"raise OSError('no')\n"}
    )
    return made


def edit(dest: Path) -> None:
    """Do to a venv what hosts do: edit, add, chown, delete."""
    etc = dest / "etc/demo"
    (etc / "clash.conf").write_text("host\n")
    (etc / "clash.conf").chmod(0o640)
    (etc / "same.conf").write_text("host\n")
    (etc / "moving.conf").chmod(0o600)
    (etc / "gone.conf").write_text("host\n")
    (etc / "keys").mkdir(mode=0o700)
    (etc / "keys/secret").write_text("never lose me\n")
    (etc / "keys/link").symlink_to("secret")
    os.utime(etc / "keys/secret", (1, 1))


def content(dest: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted((dest / "etc/demo").rglob("*")) if p.is_file()}


def test_upgrade_in_place_carries_the_hosts_files(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    edit(dest)
    result = site.install("2.0.0", dest)
    assert result["changed"]
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 2.0.0\n"
    assert content(dest) == {
        "same.conf": "host\n",  # unchanged in the artifact: the host's stands
        "moving.conf": "two\n",  # unmodified on the host: the new default
        "clash.conf": "host\n",  # changed on both sides: kept, the new one beside it
        "clash.conf.venvoy-new": "two\n",
        "fresh.conf": "fresh\n",
        "gone.conf": "host\n",  # dropped by the artifact, but the host had changed it
        "secret": "never lose me\n",
        "link": "never lose me\n",
    }
    etc = dest / "etc/demo"
    assert stat.S_IMODE((etc / "clash.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE((etc / "moving.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((etc / "keys").stat().st_mode) == 0o700
    assert (etc / "keys/secret").stat().st_mtime == 1
    assert (etc / "keys/link").readlink() == Path("secret")
    assert result["aside"] == ["etc/demo/clash.conf.venvoy-new"]
    assert result["local_changes"] == []
    assert venvoy("verify", dest).returncode == 0
    assert [name.split("-old-")[0] for name in litter(tmp_path)] == [".demo.venvoy"]


def test_policy_new_puts_the_hosts_file_aside(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    edit(dest)
    site.install("2.0.0+new", dest)
    found = content(dest)
    assert (found["clash.conf"], found["clash.conf.venvoy-old"]) == ("two\n", "host\n")
    assert stat.S_IMODE((dest / "etc/demo/clash.conf").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners")
def test_owners_and_attributes_are_carried(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    edit(dest)
    secret = dest / "etc/demo/keys/secret"
    os.chown(secret, 12345, 23456)
    os.chown(dest / "etc", 111, 222)
    os.chown(dest / "etc/demo/moving.conf", 333, 444)
    try:
        os.setxattr(secret, "user.note", b"mine")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    site.install("2.0.0", dest)
    assert (secret.stat().st_uid, secret.stat().st_gid) == (12345, 23456)
    assert os.getxattr(secret, "user.note") == b"mine"
    assert ((dest / "etc").stat().st_uid, (dest / "etc").stat().st_gid) == (111, 222)
    moving = (dest / "etc/demo/moving.conf").stat()
    assert (moving.st_uid, moving.st_gid, stat.S_IMODE(moving.st_mode)) == (333, 444, 0o600)


def test_prepared_configuration_directory_is_accepted(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    (dest / "etc/demo").mkdir(parents=True)
    (dest / "etc/demo").chmod(0o750)
    (dest / "etc/demo/demo.conf").write_text("made by the role\n")
    site.install("1.0.0", dest)
    assert (dest / "etc/demo/demo.conf").read_text() == "made by the role\n"
    assert (dest / "etc/demo/same.conf").read_text() == "same\n"
    assert stat.S_IMODE((dest / "etc/demo").stat().st_mode) == 0o750
    assert venvoy("verify", dest).returncode == 0


def test_undeclared_changes_are_reported_and_kept_aside(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (purelib(dest) / "demo/data.txt").write_text("patched\n")
    (purelib(dest) / "local.py").write_text("x = 1\n")
    result = site.install("2.0.0", dest)
    names = [Path(path).name for path in result["local_changes"]]
    assert names == ["data.txt", "local.py"]
    assert (purelib(Path(result["replaced"])) / "local.py").read_text() == "x = 1\n"


def test_failed_check_leaves_the_old_venv_active_and_keeps_the_evidence(
    site: SmallSite, tmp_path: Path
) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run(site.command("3.0.0", dest))
    assert done.returncode == 8, done.stderr
    assert "check 'import demo.broken' failed" in done.stderr
    log = Path(done.stderr.strip().rsplit(" ", 1)[-1])
    assert "OSError: no" in log.read_text()
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_process_that_runs_through_the_exchange_finds_its_files(site: SmallSite, tmp_path: Path) -> None:
    """DESIGN: after an exchange late imports see the new tree, and no file goes missing."""
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    script = (
        "import sys, demo; print('up', flush=True); sys.stdin.readline(); "
        "import demo.late; print(demo.late.WHERE)"
    )
    process = subprocess.Popen(
        [str(dest / "bin/python"), "-I", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    site.install("2.0.0", dest)
    assert process.communicate("go\n")[0] == "two\n"


def test_history_is_kept(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    site.install("2.0.0", dest)
    receipt = json.loads((dest / ".venvoy/receipt.json").read_text())
    assert [(item["action"], item["release"]) for item in receipt["history"]] == [
        ("install", "1.0.0"),
        ("install", "2.0.0"),
    ]
    assert all(item["who"] and item["when"] for item in receipt["history"])


def test_the_sweep_puts_a_replaced_tree_aside_that_a_kill_left(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    replaced = Path(site.install("2.0.0", dest)["replaced"])
    left = tmp_path / ".demo.venvoy-0123456789abcdef"
    replaced.rename(left)  # as if killed between the exchange and this rename
    (tmp_path / ".demo.venvoy-fedcba9876543210").mkdir()
    assert site.install("2.0.0", dest)["changed"] is False
    assert not left.exists()
    (kept,) = litter(tmp_path)
    assert kept.startswith(".demo.venvoy-old-")
    assert run([str(tmp_path / kept / "bin/python"), "-I", "-c", "import demo"]).returncode == 0


def test_repair_unpacks_again_and_keeps_the_hosts_files(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    edit(dest)
    (purelib(dest) / "demo/main.py").write_text("")
    (purelib(dest) / "demo/data.txt").unlink()
    assert venvoy("verify", dest).returncode == 3
    assert site.install("1.0.0", dest)["changed"] is False
    assert site.install("1.0.0", dest, "--repair")["changed"] is True
    assert venvoy("verify", dest).returncode == 0
    assert content(dest)["clash.conf"] == "host\n"
    assert content(dest)["secret"] == "never lose me\n"


def test_what_the_host_writes_during_the_switch_is_not_lost(tmp_path: Path) -> None:
    live, staged = tmp_path / "live", tmp_path / "staged"
    for tree in (live, staged):
        (tree / "etc/demo").mkdir(parents=True)
        (tree / "etc/demo/a.conf").write_text("default\n")
    mutable = (MutablePath(path="etc/demo"),)
    keep_pristine(live, mutable)
    keep_pristine(staged, mutable)
    merged = merge(live, staged, mutable)
    (live / "etc/demo/a.conf").write_text("written late\n")
    (live / "etc/demo/new").mkdir()
    (live / "etc/demo/new/key").write_text("made late\n")
    catch_up(live, staged, mutable, merged)
    assert (staged / "etc/demo/a.conf").read_text() == "written late\n"
    assert (staged / "etc/demo/new/key").read_text() == "made late\n"


def test_local_changes_come_along_when_asked(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (purelib(dest) / "demo/main.py").write_text("def main():\n    print('patched')\n")
    (purelib(dest) / "demo/data.txt").chmod(0o600)
    (purelib(dest) / "demo/extra").mkdir()
    (purelib(dest) / "demo/extra/own.txt").write_text("mine\n")
    changes = {str(purelib(dest).relative_to(dest) / "demo" / name) for name in ("main.py", "data.txt")}
    changes.add(str(purelib(dest).relative_to(dest) / "demo/extra/own.txt"))

    done = run(site.command("2.0.0", dest, "--carry-over"))
    assert done.returncode == 0, done.stderr
    assert {
        line.rpartition(": ")[2] for line in done.stderr.splitlines() if "carried over" in line
    } == changes
    assert run([str(dest / "bin/demo-manage")]).stdout == "patched\n"
    assert (purelib(dest) / "demo/data.txt").stat().st_mode & 0o777 == 0o600
    assert (purelib(dest) / "demo/extra/own.txt").read_text() == "mine\n"
    # It is not hidden that the tree is not what was signed.
    verified = json.loads(venvoy("verify", dest, "--json").stdout)
    assert {*verified["altered"], *verified["added"]} == changes


def test_local_changes_that_do_not_fit_are_refused_by_name(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    (purelib(dest) / "demo/late.py").mkdir()
    (purelib(dest) / "demo/late.py/file").write_text("in the way\n")
    done = run(site.command("2.0.0", dest, "--carry-over"))
    assert done.returncode == 9
    assert "demo/late.py/file cannot be carried over" in done.stderr
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert litter(dest.parent) == []


@pytest.mark.parametrize("damage", ["files", "records"])
def test_verify_repairs_what_it_finds(site: SmallSite, tmp_path: Path, damage: str) -> None:
    dest, link = tmp_path / "demo", tmp_path / "current"
    site.install("1.0.0", dest, "--link", str(link))
    edit(dest)
    access = ("--store", site.store, "--root", site.root, "--state", site.state)
    whole = json.loads(venvoy("verify", dest, "--repair", *access, "--json").stdout)
    assert (whole["clean"], "repaired" in whole) == (True, False)
    inode = dest.stat().st_ino
    if damage == "files":
        (purelib(dest) / "demo/main.py").write_text("")
        (purelib(dest) / "demo/data.txt").unlink()
    else:
        (dest / ".venvoy/layers/demo.json").write_text("{}")
    done = venvoy("verify", link, "--repair", *access, "--json")
    assert done.returncode == 0, done.stderr
    mended = json.loads(done.stdout)
    assert mended["clean"] is True
    names = {Path(path).name for kind in mended["repaired"].values() for path in kind}
    assert names == ({"main.py", "data.txt"} if damage == "files" else {".venvoy"})
    assert dest.stat().st_ino != inode
    assert Path(mended["replaced"]).is_dir()
    assert run([str(link / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert content(dest)["secret"] == "never lose me\n"


def test_verify_repairs_nothing_of_a_venv_that_was_moved(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "demo")
    moved = (tmp_path / "demo").rename(tmp_path / "moved")
    (purelib(moved) / "demo/main.py").write_text("")
    done = venvoy("verify", moved, "--repair", "--store", site.store, "--root", site.root)
    assert (done.returncode, f"was installed as {tmp_path}/demo and moved" in done.stderr) == (9, True)
