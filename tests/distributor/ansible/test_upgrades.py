"""What lives through upgrades and rollbacks, and what the services are told."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributor.ansible.playground import VENVS, Playground
from tests.distributor.ansible.test_plays import told

pytestmark = pytest.mark.slow
Bare = Callable[..., contextlib.AbstractContextManager[Playground]]


@pytest.fixture
def ground(bare: Bare) -> Iterator[Playground]:
    with bare("web1") as made:
        yield made


def test_novas_configuration_in_the_venv(ground: Playground, prebuilt: dict[str, str]) -> None:
    config = ground.inside("web1", VENVS / "nova-1.0.0/etc/nova")
    ground.play("nova.yml", **prebuilt)
    assert stat.S_IMODE((config / "provider_config").stat().st_mode) == 0o640
    assert (config / "default.conf").read_text() == "of 1.0.0\n"
    assert ground.run("web1", "readlink", "/etc/nova") == f"{VENVS}/nova-1.0.0/etc/nova\n"
    assert ground.play("nova.yml", **prebuilt).changed == 0
    (config / "default.conf").write_text("of the host\n")
    ground.play("nova.yml", "--check", results="foretold", **prebuilt, nova_release="1.0.1")
    ground.forget_handled()
    ground.play("nova.yml", results="done", **prebuilt, nova_release="1.0.1")
    assert told(ground.results("foretold")) == told(ground.results("done"))
    assert ground.results("done")["web1"]["packages"]["upgraded"] == {"nova": ["1.0.0", "1.0.1"]}
    assert ground.handled("web1") == ["restart nova"]
    assert (config / "default.conf").read_text() == "of 1.0.1\n"
    assert (config / "default.conf.venvoy-old").read_text() == "of the host\n"
    for name, text in (
        ("nova.conf", "host = web1\n"),
        ("rootwrap.conf.original", "as it came\n"),
        ("provider_config/own.yaml", "own\n"),
        ("same.conf", "same\n"),
    ):
        assert (config / name).read_text() == text
    assert ground.facts("web1")["nova"]["need_online_data_migrations"] == "True"
    # By tag: a venv of its own, and the handler's link leads there.
    ground.play("nova.yml", **prebuilt, nova_venv_tag="1.0.1")
    assert ground.run("web1", "readlink", "/etc/nova") == f"{VENVS}/nova-1.0.1/etc/nova\n"
    assert ground.facts("web1")["nova"]["venv_tag"] == "1.0.1"


ROLLBACK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Go back
      venvoy.venvoy.venv_artifact:
        dest: /openstack/venvs/nova-1.0.0
        state: "{{ state }}"
        notify: [venv changed]
      register: done
      notify: venv changed
    - name: Write down what came of it
      ansible.builtin.copy:
        content: "{{ done | to_json }}"
        dest: "{{ controller }}/{{ results }}/{{ inventory_hostname }}.json"
      delegate_to: localhost
      check_mode: false
      changed_when: false
  handlers:
    - name: Restart
      ansible.builtin.shell: echo restart >> /var/log/handlers
      listen: venv changed
    - name: Acknowledge
      venvoy.venvoy.venv_acknowledge:
      changed_when: false
      listen: venv changed
"""


def test_going_back_verifying_and_removing(ground: Playground, prebuilt: dict[str, str]) -> None:
    venv = ground.inside("web1", VENVS / "nova-1.0.0")
    ground.play("nova.yml", **prebuilt)
    ground.play("nova.yml", **prebuilt, nova_release="1.0.1")
    ground.forget_handled()
    ground.play(ROLLBACK, "--check", results="foretold", state="rolled_back")
    back = ground.play(ROLLBACK, results="done", state="rolled_back")
    assert told(ground.results("foretold")) == told(ground.results("done"))
    assert (back.hosts["web1"][1], ground.handled("web1")) == (2, ["restart"])
    assert ground.results("done")["web1"]["release"] == "1.0.0"
    assert (venv / "etc/nova/nova.conf").read_text() == "host = web1\n"
    assert ground.play(ROLLBACK, results="verified", state="verified").changed == 0
    source = next(venv.glob("lib/python3*/site-packages/nova/main.py"))
    source.write_text("broken = True\n")
    failed = ground.play(ROLLBACK, results="verified", state="verified", fails=True)
    assert "nova/main.py" in failed.output
    ground.play(ROLLBACK, "--check", results="removing", state="absent")
    assert (venv / "bin").exists()
    ground.play(ROLLBACK, results="removed", state="absent")
    assert told(ground.results("removing")) == told(ground.results("removed"))
    assert sorted(path.name for path in venv.iterdir()) == ["etc"]
    assert (venv / "etc/nova/nova.conf").exists()
    assert ground.play(ROLLBACK, results="removed", state="absent").changed == 0


def test_horizons_changes_to_its_packages_are_carried_over(
    ground: Playground, prebuilt: dict[str, str]
) -> None:
    venv = ground.inside("web1", VENVS / "horizon-1.0.0")
    ground.play("horizon.yml", **prebuilt)
    package = next(venv.glob("lib/python3*/site-packages/horizon"))
    assert (package / "main.py").stat().st_uid != 0
    assert ground.play("horizon.yml", **prebuilt).changed == 0
    (package / "local").symlink_to("/etc/horizon")
    ground.forget_handled()
    ground.play("horizon.yml", results="done", **prebuilt, horizon_release="1.0.1")
    result = ground.results("done")["web1"]
    site = str(package.relative_to(venv).parent)
    assert {
        f"{site}/horizon/static/site.css",
        f"{site}/horizon/local_settings.py",
        "bin/horizon-manage.py",
    } <= set(result["local_changes"])
    assert (package / "static/site.css").read_text() == "css\n"
    assert (package / "local").readlink() == Path("/etc/horizon")
    assert "1.0.1" in (package / "main.py").read_text()
    assert (package / "main.py").stat().st_nlink == 1
    assert ground.run("web1", f"{VENVS}/horizon-1.0.0/bin/horizon-manage.py", "x") == "demo 1.0.1 x\n"
    assert ground.handled("web1") == ["compile horizon", "restart horizon"]


TWO_CALLS = """
- hosts: all
  gather_facts: false
  roles:
    - role: os_keystone
    - role: os_nova
"""


def test_two_calls_in_one_play_and_a_handler_that_fails(ground: Playground, prebuilt: dict[str, str]) -> None:
    failing = (
        TWO_CALLS
        + """
  handlers:
    - name: Fail
      ansible.builtin.command: test -e /ready
      changed_when: false
      listen: venv changed
"""
    )
    ground.play(failing, **prebuilt, fails=True)
    first = ground.handled("web1")
    assert ground.facts("web1").keys() == {"keystone", "nova"}
    ground.inside("web1", Path("/ready")).touch()
    again = ground.play(failing, **prebuilt)
    assert again.hosts["web1"][2] == 0
    assert ground.handled("web1")[len(first) :] == ["stop keystone", "start keystone", "restart nova"]
    settled = ground.play(failing, **prebuilt)
    assert "Tell the services" not in [line for line in settled.output.splitlines() if "changed:" in line]
    assert settled.changed == 0
    assert (
        json.loads(ground.run("web1", "/opt/venvoy/current/bin/venvoy", "acknowledge", "--json"))["changed"]
        is False
    )
