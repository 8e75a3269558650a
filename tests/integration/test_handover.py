"""A switch that was killed before its last step: whoever comes next finishes it, and loses nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import distributor.host.handover
import distributor.host.installation
import distributor.host.rollback
from distributor.host.install import install
from distributor.host.request import InstallRequest
from distributor.host.rollback import roll_back
from distributor.layers.release_source import StoreReleases
from distributor.places import read_root
from distributor.siblings import previous_paths
from distributor.stores.directory import DirectoryStore
from manifests.artifact import MutablePath
from manifests.errors import HostUnsuitable
from manifests.layout import HANDOVER
from manifests.receipt import read_receipt
from tests.small_site import HOST, SmallSite, litter, run, venvoy

LATE = "etc/demo/late.conf"


class Killed(BaseException):
    """Ends a run as a kill does: nothing of it goes on."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    for release in ("1.0.0", "2.0.0", "3.0.0"):
        made.release(release, etc={"demo.conf": release.encode()}, mutable=[MutablePath(path="etc/demo")])
    return made


def killed_before_the_last_step(
    monkeypatch: pytest.MonkeyPatch, module: object, run_it: Callable[[], object], dest: Path
) -> None:
    """Run up to the switch; just before it, the host writes into the tree that is still active."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    announce = distributor.host.handover.announce

    def announced(staged: Path, live: Path, merged: object) -> None:
        announce(staged, live, merged)  # type: ignore[arg-type]
        (dest / LATE).write_text("written during the switch")
        (dest / LATE).chmod(0o640)

    with monkeypatch.context() as patched:
        patched.setattr(module, "finish", kill)
        patched.setattr("distributor.host.staged_tree.announce", announced)
        patched.setattr("distributor.host.rollback.announce", announced)
        with pytest.raises(Killed):
            run_it()
    assert (dest / HANDOVER).exists()
    assert not (dest / LATE).exists()


def install_here(site: SmallSite, release: str, dest: Path, **options: object) -> object:
    request = InstallRequest(
        service="demo",
        release=release,
        destination=dest,
        evidence=site.state,
        python=HOST.executable,
        **options,  # type: ignore[arg-type]
    )
    store = DirectoryStore(site.store)
    return install(request, lambda: StoreReleases(store, site.state, read_root(site.root)))


@pytest.fixture
def dest(site: SmallSite, tmp_path: Path) -> Path:
    site.install("1.0.0", tmp_path / "venvs/demo")
    return tmp_path / "venvs/demo"


def assert_late_write_is_there(dest: Path) -> None:
    assert (dest / LATE).read_text() == "written during the switch"
    assert (dest / LATE).stat().st_mode & 0o777 == 0o640
    assert not (dest / HANDOVER).exists()
    assert [name for name in litter(dest.parent) if "-old-" not in name] == []
    assert venvoy("verify", dest).returncode == 0


def test_the_rerun_finishes_an_exchange(site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_before_the_last_step(
        monkeypatch, distributor.host.installation, lambda: install_here(site, "2.0.0", dest), dest
    )
    again = site.install("2.0.0", dest)
    assert_late_write_is_there(dest)
    # The killed run told nobody; this one does, once.
    assert again["changed"] is True
    assert again["kept"] == [LATE]
    assert Path(again["replaced"]) in previous_paths(dest)
    assert site.install("2.0.0", dest)["changed"] is False


def test_another_command_finishes_it_too(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_the_last_step(
        monkeypatch, distributor.host.installation, lambda: install_here(site, "2.0.0", dest), dest
    )
    assert site.install("3.0.0", dest)["changed"] is True
    assert_late_write_is_there(dest)


def test_garbage_is_collected_only_after_it_is_finished(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_the_last_step(
        monkeypatch, distributor.host.installation, lambda: install_here(site, "2.0.0", dest), dest
    )
    done = venvoy("gc", dest, "--keep", "0")
    assert done.returncode == 0, done.stderr
    assert_late_write_is_there(dest)
    assert previous_paths(dest) == []


def test_what_the_host_wrote_after_the_switch_is_newer(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_the_last_step(
        monkeypatch, distributor.host.installation, lambda: install_here(site, "2.0.0", dest), dest
    )
    (dest / LATE).write_text("and once more")
    later = (dest / LATE).stat().st_mtime_ns + 1_000_000_000
    os.utime(dest / LATE, ns=(later, later))
    site.install("2.0.0", dest)
    assert (dest / LATE).read_text() == "and once more"


def test_a_rollback_run_again_goes_back_one_step_and_not_two(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for release in ("2.0.0", "3.0.0"):
        site.install(release, dest)
    killed_before_the_last_step(monkeypatch, distributor.host.rollback, lambda: roll_back(dest), dest)
    done = venvoy("rollback", dest, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["changed"], document["from"], document["to"]) == (True, "3.0.0", "2.0.0")
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 2.0.0\n"
    assert_late_write_is_there(dest)


def test_two_renames_cut_in_half_are_undone(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one gap that --non-atomic accepts: a kill in it leaves no tree at the name, and loses nothing."""
    (dest / "etc/demo/mine.conf").write_text("mine")
    rename = Path.rename

    def killed_at_the_second(self: Path, target: Path) -> Path:
        if target == dest:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_at_the_second)
        patched.setattr("distributor.host.staging.shutil.rmtree", lambda *_: None)  # a kill cleans up nothing
        with pytest.raises(Killed):
            install_here(site, "2.0.0", dest, atomic=False)
    assert not dest.exists()
    site.install("2.0.0", dest, "--non-atomic")
    receipt = read_receipt(dest)
    assert receipt is not None
    assert [switch.release for switch in receipt.history] == ["1.0.0", "2.0.0"]
    assert (dest / "etc/demo/mine.conf").read_text() == "mine"
    assert litter(dest.parent) == [path.name for path in previous_paths(dest)]


def test_a_prepared_directory_is_finished_too(
    site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no receipt by which it could be known; its inode says which tree was replaced."""
    dest = tmp_path / "venvs/demo"
    (dest / "etc/demo").mkdir(parents=True)
    killed_before_the_last_step(
        monkeypatch, distributor.host.installation, lambda: install_here(site, "1.0.0", dest), dest
    )
    site.install("1.0.0", dest)
    assert_late_write_is_there(dest)


def test_the_second_rename_that_fails_puts_the_first_back(
    site: SmallSite, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def full_at_the_second(self: Path, target: Path) -> Path:
        if target == dest and "-old-" not in self.name:
            raise OSError(28, "No space left on device", str(target))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full_at_the_second)
        with pytest.raises(HostUnsuitable, match="No space left"):
            install_here(site, "2.0.0", dest, atomic=False)
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert litter(dest.parent) == []
