"""What a switch owes to the outside: facts and notifications, through kills, by the command line."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from manifests.receipt import read_receipt
from tests.small_site import SmallSite, run, venvoy

HEADER = "# Managed with python_venv_build role\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    made.release("1.0.0", etc={"demo.conf": b"from = 1\n"})
    made.release("2.0.0", etc={"demo.conf": b"from = 2\n"})
    return made


class Role:
    """Installs as a role does: a request with facts and topics, for one play."""

    def __init__(self, site: SmallSite, folder: Path) -> None:
        self.site = site
        self.dest = folder / "venvs/demo"
        self.facts = folder / "facts.d/openstack_ansible.fact"
        self.state = site.state

    def request(self, tag: str, play: str, **more: Any) -> Path:
        value = {
            "format": "1.0",
            "facts": [
                {"section": "demo", "option": "venv_tag", "value": tag},
                {"section": "demo", "option": "need_db_expand", "value": "True"},
            ],
            "facts_file": str(self.facts),
            "identity_facts": [{"section": "demo", "option": "artifact_id"}],
            "notify": ["venv changed"],
            "run": play,
            **more,
        }
        path = self.facts.parent.parent / "request.json"
        path.write_text(json.dumps(value))
        return path

    def install(self, release: str, play: str, *options: str, **more: Any) -> dict[str, Any]:
        path = self.request(release, play, **more)
        return self.site.install(release, self.dest, "--role-request", str(path), *options)

    def acknowledge(self, play: str) -> bool:
        done = venvoy("acknowledge", "--run", play, "--state", self.state, "--json")
        assert done.returncode == 0, done.stderr
        return bool(json.loads(done.stdout)["changed"])


@pytest.fixture
def role(site: SmallSite, tmp_path: Path) -> Role:
    return Role(site, tmp_path)


def test_a_change_writes_facts_and_is_told_until_it_is_acknowledged(role: Role) -> None:
    role.facts.parent.mkdir()
    role.facts.write_text(
        "# of the host\n[nova]\nvenv_tag = 7\n\n[demo]\ninstall_method = source\nvenv_tag=0\n"
    )
    first = role.install("1.0.0", "play one")
    assert (first["changed"], first["notify"]) == (True, ["venv changed"])
    identity = first["artifact"]
    assert role.facts.read_text() == (
        "# of the host\n[nova]\nvenv_tag = 7\n\n[demo]\ninstall_method = source\nvenv_tag = 1.0.0\n"
        f"need_db_expand = True\nartifact_id = {identity}\n"
    )
    assert role.facts.stat().st_mode & 0o777 == 0o644
    # The play died before its handlers ran. The next one is told again; facts were not owed any more.
    again = role.install("1.0.0", "play two")
    assert (again["changed"], again["facts"], again["notify"]) == (True, [], ["venv changed"])
    assert not role.acknowledge("play one")  # it was told, but is not the one that is told now
    assert role.acknowledge("play two")
    assert not role.acknowledge("play two")
    settled = role.install("1.0.0", "play three")
    assert (settled["changed"], settled["notify"]) == (False, [])


def test_facts_that_could_not_be_written_stay_owed(role: Role) -> None:
    role.facts.parent.write_text("a file where the folder should be")
    path = role.request("1.0.0", "play")
    done = run([*role.site.command("1.0.0", role.dest, "--role-request", str(path)), "--json"])
    assert done.returncode == 4
    assert "cannot write the facts" in done.stderr
    receipt = read_receipt(role.dest)
    assert receipt is not None
    assert len(receipt.pending.facts) == 3
    role.facts.parent.unlink()
    again = role.install("1.0.0", "play")
    assert (again["changed"], len(again["facts"])) == (True, 3)
    assert "need_db_expand = True" in role.facts.read_text()


def test_a_link_that_moves_to_a_tree_that_is_there_is_told(role: Role, tmp_path: Path) -> None:
    link = tmp_path / "venvs/current"
    role.install("1.0.0", "play")
    role.acknowledge("play")
    moved = role.install("1.0.0", "play", "--link", str(link))
    assert (moved["changed"], moved["link_flipped"], moved["notify"]) == (True, True, ["venv changed"])
    role.acknowledge("play")
    assert role.install("1.0.0", "play", "--link", str(link))["changed"] is False


def test_acknowledging_leaves_what_another_play_was_told(role: Role, site: SmallSite, tmp_path: Path) -> None:
    other = Role(site, tmp_path / "other")
    other.facts.parent.parent.mkdir()
    role.install("1.0.0", "play one")
    other.install("1.0.0", "play two")
    assert role.acknowledge("play one")
    assert role.install("1.0.0", "play three")["changed"] is False
    assert other.install("1.0.0", "play four")["changed"] is True
    assert role.acknowledge("play four")


def test_rollback_tells_as_an_install_does(role: Role) -> None:
    role.install("1.0.0", "play")
    role.install("2.0.0", "play")
    role.acknowledge("play")
    path = role.request("1.0.0", "play")
    command = ["rollback", role.dest, "--role-request", path, "--state", role.state, "--json"]
    foretold = json.loads(venvoy(*command, "--dry-run").stdout)
    done = json.loads(venvoy(*command).stdout)
    for document in (foretold, done):
        assert document["notify"] == ["venv changed"]
        assert document["packages"]["upgraded"] == {"demo": ["2.0.0", "1.0.0"]}
    assert {key: foretold[key] for key in foretold if key not in ("replaced", "kept", "aside")} == {
        key: done[key] for key in done if key not in ("replaced", "kept", "aside")
    }
    assert "venv_tag = 1.0.0" in role.facts.read_text()
    assert role.acknowledge("play")


def test_requests_that_make_no_sense_are_refused(role: Role) -> None:
    for more, message in (
        ({"facts_file": "relative"}, "is not an absolute path"),
        ({"preserve": {"../etc": "keep"}}, "not a plain relative path"),
        ({"preserve": {"etc": "perhaps"}}, "neither keep nor new"),
        ({"files": {"a": "%"}}, "not base64"),
        ({"format": "2.0"}, "needs Venvoy >= 2.0"),
        ({"facts": [{"section": "a]b", "option": "c", "value": "d"}]}, "does not fit on one line"),
    ):
        path = role.request("1.0.0", "play", **more)
        done = run([*role.site.command("1.0.0", role.dest, "--role-request", str(path))])
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not role.dest.exists()


def test_files_and_preserved_paths_of_the_role(role: Role) -> None:
    listing = base64.b64encode(f"{HEADER}demo\n".encode()).decode()
    wanted = {"files": {"requirements.txt": listing}, "preserve": {"etc": "new"}}
    role.install("1.0.0", "play", **wanted)
    config = role.dest / "etc/demo/demo.conf"
    config.write_text("from = host\n")
    (config.parent / "key.pem").write_text("secret")
    assert (role.dest / "requirements.txt").read_text() == f"{HEADER}demo\n"
    assert venvoy("verify", role.dest).returncode == 0
    role.install("2.0.0", "play", **wanted)
    assert config.read_text() == "from = 2\n"
    assert config.with_name("demo.conf.venvoy-old").read_text() == "from = host\n"
    assert config.with_name("key.pem").read_text() == "secret"
    role.acknowledge("play")
    other = {**wanted, "files": {"requirements.txt": base64.b64encode(b"other\n").decode()}}
    noted = role.install("2.0.0", "play", **other)
    assert (noted["changed"], noted["unpacked"], noted["notify"]) == (True, False, [])
    # Another tool was at work in the venv, and says so by its own list.
    (role.dest / "requirements.txt").write_text("pip was here\n")
    assert role.install("2.0.0", "play", **other)["unpacked"] is True
    role.acknowledge("play")


def test_dry_run_says_what_the_real_run_then_says(role: Role, site: SmallSite) -> None:
    only_after = ("fetched_bytes", "replaced", "kept", "aside")
    for release, options in (("1.0.0", ()), ("1.0.0", ()), ("2.0.0", ()), ("2.0.0", ("--repair",))):
        before = sorted((path, path.lstat().st_mtime_ns) for path in _everything(role.dest.parent.parent))
        foretold = role.install(release, "play", "--dry-run", *options)
        after = sorted((path, path.lstat().st_mtime_ns) for path in _everything(role.dest.parent.parent))
        assert [item for item in after if item[0].name != "request.json"] == [
            item for item in before if item[0].name != "request.json"
        ]
        done = role.install(release, "play", *options)
        assert {key: value for key, value in foretold.items() if key not in only_after} == {
            key: value for key, value in done.items() if key not in only_after
        }
        role.acknowledge("play")


def _everything(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name != "venvs"]


def test_a_venv_of_another_tool_is_taken_over_only_when_asked(role: Role, tmp_path: Path) -> None:
    role.dest.parent.mkdir()
    made = run(["python3", "-m", "venv", "--without-pip", str(role.dest)])
    assert made.returncode == 0, made.stderr
    (role.dest / "etc/demo").mkdir(parents=True)
    (role.dest / "etc/demo/key.pem").write_text("secret")
    path = role.request("1.0.0", "play", preserve={"etc": "new"})
    command = role.site.command("1.0.0", role.dest, "--role-request", str(path))
    done = run(command)
    assert (done.returncode, "--adopt" in done.stderr) == (9, True)
    result = role.install("1.0.0", "play", "--adopt", preserve={"etc": "new"})
    assert result["unpacked"] is True
    assert (role.dest / "etc/demo/key.pem").read_text() == "secret"
    assert (Path(result["replaced"]) / "pyvenv.cfg").exists()
    role.acknowledge("play")


def test_remove_keeps_what_is_the_hosts(role: Role, tmp_path: Path) -> None:
    link = tmp_path / "current"
    role.install("1.0.0", "play", "--link", str(link), preserve={"etc": "new"})
    role.install("2.0.0", "play", "--link", str(link), preserve={"etc": "new"})
    (role.dest / "etc/demo/key.pem").write_text("secret")
    command = ["remove", role.dest, "--link", link, "--json"]
    assert json.loads(venvoy(*command, "--dry-run").stdout)["changed"] is True
    assert role.dest.joinpath("bin/demo-manage").exists()
    assert json.loads(venvoy(*command).stdout)["changed"] is True
    assert sorted(str(path.relative_to(role.dest)) for path in role.dest.rglob("*")) == [
        "etc",
        "etc/demo",
        "etc/demo/key.pem",
    ]
    assert not link.is_symlink()
    assert [path.name for path in role.dest.parent.iterdir() if path != role.dest] == [".demo.venvoy-lock"]
    assert json.loads(venvoy(*command).stdout)["changed"] is False
    taken = role.install("1.0.0", "play", preserve={"etc": "new"})
    assert taken["unpacked"] is True  # such a place is taken over
    role.acknowledge("play")


def test_a_play_that_died_when_its_handlers_had_run_is_not_told_of_again(role: Role) -> None:
    role.facts.parent.mkdir()
    role.install("1.0.0", "play one")
    foretold = role.install("1.0.0", "play two", "--dry-run", handled=["play one"])
    again = role.install("1.0.0", "play two", handled=["play one"])
    for result in (foretold, again):
        assert (result["changed"], result["notify"]) == (False, [])
    assert role.acknowledge("play one") is False
    # Another play's topics stay, and what changes now is told.
    upgraded = role.install("2.0.0", "play three", handled=["play one", "play two"])
    assert upgraded["notify"] == ["venv changed"]
    assert role.install("2.0.0", "play four", handled=["play two"])["notify"] == ["venv changed"]
    assert role.acknowledge("play four")


def test_what_handlers_acted_on_does_not_come_back_with_the_next_change(role: Role) -> None:
    role.facts.parent.mkdir()
    role.install("1.0.0", "play one", notify=["old topic"])
    foretold = role.install("2.0.0", "play two", "--dry-run", handled=["play one"])
    done = role.install("2.0.0", "play two", handled=["play one"])
    assert foretold["notify"] == done["notify"] == ["venv changed"]


def test_a_play_cannot_be_alive_and_dead(role: Role) -> None:
    role.facts.parent.mkdir()
    request = role.request("1.0.0", "play one", handled=["play one"])
    done = run([*role.site.command("1.0.0", role.dest), "--role-request", str(request)])
    assert (done.returncode, "cannot be among those that died" in done.stderr) == (2, True)
