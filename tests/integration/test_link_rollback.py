"""Going back where each release has a destination of its own, and a link leads to the active one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distributor.host.link import Flip, read_flips
from distributor.host.link_rollback import roll_back_link
from distributor.siblings import link_record
from tests.small_site import SmallSite, litter, purelib, run, snapshot, venvoy

RELEASES = ("1.0.0", "2.0.0", "3.0.0")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    for release in RELEASES:
        made.release(release)
    made.release("4.0.0", barrier="the database is contracted")
    made.release("1.0.0+other", "other")
    return made


@pytest.fixture
def link(site: SmallSite, tmp_path: Path) -> Path:
    """Give a link that led to each of the releases, one after the other."""
    link = tmp_path / "venvs/demo"
    for release in RELEASES:
        site.install(release, link.with_name(f"demo-{release}"), "--link", str(link))
    return link


def rollback(link: Path, *options: str) -> dict[str, Any]:
    done = venvoy("rollback", link, "--json", *options)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def running(link: Path) -> str:
    return run([str(link / "bin/demo-manage")]).stdout


def test_a_link_goes_back_to_where_it_led_and_forth_again(link: Path) -> None:
    trees = {path: snapshot(path, times=True) for path in link.parent.glob("demo-*")}
    foretold = rollback(link, "--dry-run")
    back = rollback(link)
    assert foretold == {**back, "real_path": str(link.with_name("demo-3.0.0"))}
    assert (back["changed"], back["from"], back["to"]) == (True, "3.0.0", "2.0.0")
    assert back["real_path"] == str(link.with_name("demo-2.0.0"))
    assert running(link) == "demo 2.0.0\n"
    assert rollback(link)["to"] == "3.0.0"
    assert rollback(link, "--to", "1.0.0")["from"] == "3.0.0"
    assert running(link) == "demo 1.0.0\n"
    assert rollback(link, "--to", "1.0.0")["changed"] is False
    assert {path: snapshot(path, times=True) for path in trees} == trees
    assert [
        (flip.action, Path(flip.before or "").name, Path(flip.after).name) for flip in read_flips(link)
    ] == [
        ("install", "", "demo-1.0.0"),
        ("install", "demo-1.0.0", "demo-2.0.0"),
        ("install", "demo-2.0.0", "demo-3.0.0"),
        ("rollback", "demo-3.0.0", "demo-2.0.0"),
        ("rollback", "demo-2.0.0", "demo-3.0.0"),
        ("rollback", "demo-3.0.0", "demo-1.0.0"),
    ]
    assert all(flip.who and flip.when for flip in read_flips(link))
    assert litter(link.parent) == []


def test_a_link_does_not_go_back_to_what_is_not_whole_not_there_or_not_its_own(
    site: SmallSite, link: Path
) -> None:
    site.install("1.0.0+other", link.with_name("other"), service="other")
    done = venvoy("rollback", link, "--to", "1.0.0+other")
    assert (done.returncode, "(there: 1.0.0, 2.0.0)" in done.stderr) == (5, True)
    (purelib(link.with_name("demo-2.0.0")) / "demo/main.py").unlink()
    done = venvoy("rollback", link)
    assert (done.returncode, "demo-2.0.0 is not whole" in done.stderr) == (3, True)
    (link.with_name("demo-2.0.0") / ".venvoy/receipt.json").unlink()
    assert venvoy("rollback", link).returncode == 5
    assert running(link) == "demo 3.0.0\n"
    assert len(read_flips(link)) == 3


def test_a_link_goes_back_over_a_barrier_only_by_force(site: SmallSite, link: Path) -> None:
    site.install("4.0.0", link.with_name("demo-4.0.0"), "--link", str(link))
    done = venvoy("rollback", link)
    assert (done.returncode, "the database is contracted" in done.stderr) == (9, True)
    assert rollback(link, "--force")["to"] == "3.0.0"


def test_a_link_without_a_record_goes_back_by_name_alone(link: Path) -> None:
    link_record(link).unlink()
    done = venvoy("rollback", link)
    assert (done.returncode, "name a release by --to (here: 1.0.0, 2.0.0)" in done.stderr) == (5, True)
    assert rollback(link, "--to", "2.0.0")["changed"] is True


def test_who_was_not_told_is_told_by_the_next_run_and_goes_no_further(link: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        roll_back_link(link, tell_of=kill)
    assert running(link) == "demo 2.0.0\n"
    again = rollback(link)
    assert (again["changed"], again["from"], again["to"]) == (True, "3.0.0", "2.0.0")
    assert rollback(link)["to"] == "3.0.0"


def test_a_flip_that_did_not_happen_does_not_count(link: Path) -> None:
    path = link_record(link)
    value = json.loads(path.read_text())
    last = value["flips"][-1]
    value["flips"].append({**last, "before": last["after"], "after": str(link.with_name("demo-9"))})
    path.write_text(json.dumps(value))
    assert len(read_flips(link)) == 3
    assert rollback(link)["to"] == "2.0.0"
    assert isinstance(read_flips(link)[-1], Flip)


def test_what_leads_nowhere_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("link", "absent", "absent/deep"):
        done = venvoy("rollback", tmp_path / name)
        assert (done.returncode, "there is nothing to go back from" in done.stderr) == (5, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]


def test_history_tells_from_to_when_and_who(site: SmallSite, link: Path) -> None:
    site.install("1.0.0", link.with_name("place"))
    site.install("2.0.0", link.with_name("place"))
    rollback(link.with_name("place"))
    rollback(link)
    lines = venvoy("status", link.parent, "--history").stdout.splitlines()
    told = [line.split("  ")[1:] for line in lines]
    assert [line[1:] for line in told if line[-1] == str(link.with_name("place"))] == [
        ["install", "- -> 1.0.0", str(link.with_name("place"))],
        ["install", "1.0.0 -> 2.0.0", str(link.with_name("place"))],
        ["rollback", "2.0.0 -> 1.0.0", str(link.with_name("place"))],
    ]
    last = [line for line in told if line[-1] == str(link)][-1]
    assert last[1] == "rollback"
    assert last[2].endswith("demo-2.0.0")
    assert all(line[0] for line in told)
    (venv,) = json.loads(venvoy("status", link, "--json").stdout)["venvs"]
    assert [flip["action"] for flip in venv["flips"][str(link)]] == ["install"] * 3 + ["rollback"]
