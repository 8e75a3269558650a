"""Venvs that share disk space: hard links and clones, and what must never be shared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributor.layers.linking import forget_unused
from manifests.artifact import MutablePath
from tests.faults.disks import PowerDisk, Unavailable
from tests.small_site import SmallSite, litter, purelib, run, snapshot, venvoy

BIG = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    etc, mutable = {"demo.conf": b"default\n"}, [MutablePath(path="etc/demo")]
    for release in ("1.0.0", "2.0.0"):
        made.release(release, files={"demo/big.bin": BIG}, etc=etc, mutable=mutable)
    return made


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    try:
        disk = PowerDisk(tmp_path / "disk", "xfs")
    except Unavailable as why:
        pytest.skip(str(why))
    yield disk.mount
    disk.remove()


def inode(path: Path) -> int:
    return path.stat().st_ino


def facts(venv: Path) -> dict[str, object]:
    """All of a venv but its receipt and the activation scripts, which name its place."""
    return {
        path: fact
        for path, fact in snapshot(venv).items()
        if not path.endswith("receipt.json") and not path.startswith("bin/activate.")
    }


def test_hard_links_share_files_and_give_the_same_tree(site: SmallSite, tmp_path: Path) -> None:
    one, two, plain = (tmp_path / "venvs" / name / "demo" for name in ("one", "two", "plain"))
    first = site.install("1.0.0", one, "--link-mode", "hardlink")
    assert first["notes"] == []
    site.install("2.0.0", two, "--link-mode", "hardlink")
    site.install("1.0.0", plain)
    big = "demo/big.bin"
    assert inode(purelib(one) / big) == inode(purelib(two) / big) != inode(purelib(plain) / big)
    assert facts(one) == facts(plain)
    for venv in (one, two):
        assert venvoy("verify", venv).returncode == 0
        assert litter(venv.parent) == []
    assert run([str(two / "bin/demo-manage")]).stdout == "demo 2.0.0\n"


def test_files_that_a_host_edits_are_never_shared(site: SmallSite, tmp_path: Path) -> None:
    one, two = tmp_path / "venvs/one", tmp_path / "venvs/two"
    for venv in (one, two):
        site.install("1.0.0", venv, "--link-mode", "hardlink")
    for path in ("etc/demo/demo.conf", "pyvenv.cfg", ".venvoy/receipt.json"):
        assert (one / path).stat().st_nlink == 1, path
    (one / "etc/demo/demo.conf").write_text("edited")
    assert (two / "etc/demo/demo.conf").read_text() == "default\n"


def test_a_shared_copy_that_was_edited_is_not_used_again(site: SmallSite, tmp_path: Path) -> None:
    one, two = tmp_path / "venvs/one", tmp_path / "venvs/two"
    site.install("1.0.0", one, "--link-mode", "hardlink")
    for name in ("big.bin", "data.txt"):  # one is compared on disk, the other in memory
        with (purelib(one) / "demo" / name).open("r+b") as stream:
            stream.write(b"evil")
    (purelib(one) / "demo/main.py").chmod(0o666)
    site.install("1.0.0", two, "--link-mode", "hardlink")
    assert venvoy("verify", two).returncode == 0
    assert (purelib(two) / "demo/big.bin").read_bytes() == BIG
    assert venvoy("verify", one).returncode == 3


def test_another_file_system_means_copies_and_says_so(site: SmallSite, tmp_path: Path) -> None:
    if not Path("/dev/shm").is_mount() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    cache = Path("/dev/shm") / f"venvoy-test-{os.getpid()}"
    try:
        result = site.install("1.0.0", tmp_path / "demo", "--link-mode", "hardlink", "--cache", str(cache))
        assert "files were copied" in result["notes"][0]
        assert venvoy("verify", tmp_path / "demo").returncode == 0
    finally:
        run(["rm", "-rf", str(cache)])


def test_clones_share_blocks_until_they_are_written(site: SmallSite, xfs: Path) -> None:
    cache = xfs / "cache"
    options = ("--link-mode", "reflink", "--cache", str(cache))

    def used() -> int:
        os.sync()
        status = os.statvfs(xfs)
        kept = sum(path.stat().st_size for path in (cache / "fetched-layers").glob("*/*"))
        return (status.f_blocks - status.f_bfree) * status.f_frsize - kept

    assert site.install("1.0.0", xfs / "venvs/one", *options)["notes"] == []
    before = used()
    site.install("2.0.0", xfs / "venvs/two", *options)
    assert used() - before < len(BIG)
    two = xfs / "venvs/two"
    assert venvoy("verify", two).returncode == 0
    with (purelib(two) / "demo/big.bin").open("r+b") as stream:
        stream.write(b"mine")
    assert (purelib(xfs / "venvs/one") / "demo/big.bin").read_bytes() == BIG


def test_clones_where_there_are_none_are_copies(site: SmallSite, tmp_path: Path) -> None:
    result = site.install("1.0.0", tmp_path / "demo", "--link-mode", "reflink")
    if not result["notes"]:
        pytest.skip("this file system can clone")
    assert "no reflink" in result["notes"][0]
    assert venvoy("verify", tmp_path / "demo").returncode == 0


def test_shared_copies_that_nobody_holds_are_forgotten(site: SmallSite, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    site.install("1.0.0", tmp_path / "demo", "--link-mode", "hardlink", "--cache", str(cache))
    assert forget_unused(cache) == 0
    run(["rm", "-rf", str(tmp_path / "demo")])
    assert forget_unused(cache) > len(BIG)
    assert not any((cache / "shared-files").glob("*/*"))


def test_link_modes_need_a_cache(site: SmallSite, tmp_path: Path) -> None:
    done = run(site.command("1.0.0", tmp_path / "demo", "--link-mode", "hardlink", "--no-cache"))
    assert (done.returncode, (tmp_path / "demo").exists()) == (2, False)
    assert "--no-cache" in done.stderr
