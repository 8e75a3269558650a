"""Another user of the host races the installer for names and bytes: denial at most, never a foreign byte."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Figure
from tests.faults.helpers import Helper
from tests.faults.preloaded import Preloaded
from tests.faults.scenarios import Kit
from tests.small_site import HOST

_NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users can enter, which those of pytest are not."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the racing process becomes another user")
    folder = Path(tempfile.mkdtemp(prefix="venvoy-faults-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("attempts", "installs"), [(300, 3), pytest.param(10_000, 50, marks=pytest.mark.slow)]
)
def test_racing_user_changes_no_byte(
    kit: Kit, runner: Preloaded, open_folder: Path, figure: Figure, attempts: int, installs: int
) -> None:
    parent, store, own = (open_folder / name for name in ("venvs", "store", "own"))
    shutil.copytree(kit.site.store, store)
    for folder, mode in ((parent, 0o1777), (own, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
    os.chown(own, _NOBODY, _NOBODY)
    before = _content(store)
    good = bad = made = 0
    with Helper("attacking", parent, store, own) as racer:
        while made < attempts or good < installs:
            dest = parent / f"demo-{good + bad}"
            done = runner.run(_install(kit, dest, store, open_folder / "state"))
            if done.returncode == 0:
                good += 1
                _check(runner, dest)
                shutil.rmtree(dest)
            else:
                bad += 1
                assert "Traceback" not in done.stderr
                assert not _is_ours(dest), f"failed, but something of it stands there: {done.stderr}"
                assert bad < 50 + 20 * good, done.stderr
            made = racer.counted()["attempts"]
        counts = racer.stop()
    assert _content(store) == before
    denied = counts.get("EACCES", 0) + counts.get("EPERM", 0)
    figure(
        f"{counts['attempts']} attempts ({counts['done']} names planted, {denied} denied), "
        f"{good} installs done, {bad} refused or failed, 0 foreign bytes"
    )
    assert denied
    # Refused runs sweep up after themselves.
    ours = [entry.name for entry in parent.iterdir() if entry.lstat().st_uid == 0]
    assert [name for name in ours if not name.endswith("-lock")] == []


def test_a_racing_user_wins_where_parents_are_not_looked_at(
    kit: Kit, open_folder: Path, tmp_path: Path, figure: Figure
) -> None:
    """A control: in a folder without the sticky bit it swaps what is being installed."""
    parent, store, own = (open_folder / name for name in ("venvs", "store", "own"))
    shutil.copytree(kit.site.store, store)
    for folder, mode in ((parent, 0o777), (own, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
    os.chown(own, _NOBODY, _NOBODY)
    swapped = runs = 0
    with (
        Preloaded(tmp_path / "runner", control="open_parent") as sabotaged,
        Helper("attacking", parent, store, own) as racer,
    ):
        while not swapped and runs < 200:
            runs += 1
            sabotaged.run(_install(kit, parent / f"demo-{runs}", store, open_folder / "state"))
            # What it swapped is gone from where it stood, or lies in its own folder with root's files.
            swapped = any(path.lstat().st_uid == 0 for path in own.rglob("*"))
        counts = racer.stop()
    figure(f"a tree of ours was stolen in run {runs}, after {counts['attempts']} attempts")
    assert swapped


def test_venv_that_another_user_put_there_is_not_taken_for_ours(
    kit: Kit, runner: Preloaded, open_folder: Path
) -> None:
    """In a folder like /tmp anybody may plant a whole venv, with a receipt that says all is done."""
    parent, link = open_folder / "venvs", open_folder / "link"
    parent.mkdir()
    parent.chmod(0o1777)
    command = _install(kit, parent / "demo", kit.site.store, open_folder / "state")
    assert runner.run(command).returncode == 0
    (parent / "demo/bin/demo-manage").write_bytes(b"evil\n")
    _give_away(parent / "demo")
    done = runner.run([*command, "--link", str(link)])
    assert done.returncode != 0, "a foreign venv was taken for an installed one"
    assert not link.is_symlink()


def test_files_that_another_user_prepared_are_not_carried_over(
    kit: Kit, runner: Preloaded, open_folder: Path
) -> None:
    parent = open_folder / "venvs"
    (parent / "demo/etc/demo").mkdir(parents=True)
    parent.chmod(0o1777)
    (parent / "demo/etc/demo/evil.conf").write_bytes(b"evil\n")
    _give_away(parent / "demo")
    done = runner.run(_install(kit, parent / "demo", kit.site.store, open_folder / "state"))
    assert done.returncode != 0, "a foreign directory was taken for one that was prepared by us"
    assert (parent / "demo").lstat().st_uid == _NOBODY


def _install(kit: Kit, dest: Path, store: Path, state: Path) -> list[str]:
    return [
        *("install", "demo", "--release", "1.0.0", "--dest", str(dest), "--jobs", "1"),
        *("--python", str(HOST.executable), "--store", str(store)),
        *("--root", str(kit.site.root), "--state", str(state)),
    ]


def _give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)


def _check(runner: Preloaded, dest: Path) -> None:
    assert not dest.is_symlink()
    assert runner.run(["verify", str(dest)]).returncode == 0
    for path in (dest, *dest.rglob("*")):
        assert path.lstat().st_uid == 0, path
        assert path.is_symlink() or path.is_dir() or b"evil" not in path.read_bytes(), path


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == 0
    except FileNotFoundError:
        return False


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
