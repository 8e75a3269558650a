"""Plays that die: at any point, with or without the module that they started."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.distributor.ansible.playground import FACTS, LOG, Playground, kill

pytestmark = pytest.mark.slow
Bare = Callable[..., contextlib.AbstractContextManager[Playground]]
POINTS = 10
VENV = "/openstack/venvs/keystone"


@pytest.mark.parametrize("modules", [False, True], ids=["controller", "controller-and-module"])
def test_killed_at_ten_points_all_converges_and_all_is_told(
    bare: Bare, prebuilt: dict[str, str], *, modules: bool
) -> None:
    with bare("web1") as ground:
        variables: dict[str, Any] = {**prebuilt, "keystone_bin": f"{VENV}/bin"}
        options = ("--tags", "install")
        ground.play("keystone.yml", *options, **variables, keystone_venv_tag="1.0.0")
        started = time.monotonic()
        ground.play("keystone.yml", *options, **variables, keystone_venv_tag="1.0.1")
        whole = time.monotonic() - started
        told = []
        for point in range(POINTS):
            after = ("1.0.0", "1.0.1")[point % 2]
            ground.forget_handled()
            play = ground.start("keystone.yml", *options, **variables, keystone_venv_tag=after)
            with contextlib.suppress(subprocess.TimeoutExpired):
                play.wait(timeout=whole * (point + 1) / (POINTS + 1))
            end(play, modules=modules)
            done = ground.play("keystone.yml", *options, **variables, keystone_venv_tag=after)
            assert done.hosts["web1"][2] == 0
            wait_for_quiet(ground)
            facts = ground.facts("web1")["keystone"]
            assert facts["venv_tag"] == after
            assert ground.run("web1", f"{VENV}/bin/keystone-manage") == f"demo {after}\n"
            ground.run("web1", "/opt/venvoy/current/bin/venvoy", "verify", VENV)
            settled = ground.play("keystone.yml", *options, **variables, keystone_venv_tag=after)
            assert settled.changed == 0
            told.append(ground.handled("web1").count("start keystone"))
        print(f"handlers ran at each of the {POINTS} points: {told}")
        assert min(told) == 1, told
        # A handler's effect and the news of it cannot be one: who is killed in this instant runs it again.
        assert max(told) <= 2, told
        assert told.count(2) <= 1, told


@pytest.mark.parametrize("modules", [False, True], ids=["controller", "controller-and-module"])
def test_killed_before_the_host_knows_that_handlers_ran_they_do_not_run_again(
    bare: Bare, prebuilt: dict[str, str], *, modules: bool
) -> None:
    with bare("web1") as ground:
        variables: dict[str, Any] = {**prebuilt, "keystone_packages": ["keystone"]}
        notes = ground.folder / "home/venvoy/handled"
        play = ground.start("keystone.yml", "--tags", "install", **variables)
        deadline = time.monotonic() + 120
        while not any(notes.glob("*/*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        end(play, modules=modules)
        assert any(notes.glob("*/*"))
        for options in (("--check",), ()):
            again = ground.play("keystone.yml", "--tags", "install", *options, **variables)
            assert again.changed == 0
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        # Nothing of it is in the way of what comes next.
        ground.play("keystone.yml", "--tags", "install", **variables, keystone_venv_tag="1.0.1")
        assert ground.handled("web1").count("start keystone") == 2


def end(play: subprocess.Popen[str], *, modules: bool) -> None:
    kill(play, modules=modules)
    if play.stdout is not None:
        play.stdout.close()


def wait_for_quiet(ground: Playground) -> None:
    """Wait until no module of a killed play is at work any more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = json.loads(ground.run("web1", "/opt/venvoy/current/bin/venvoy", "status", VENV, "--json"))
        if status["venvs"]:
            return
        time.sleep(0.2)
    raise AssertionError("still at work")


def test_a_play_that_dies_before_its_handlers_tells_the_next_one(
    bare: Bare, prebuilt: dict[str, str]
) -> None:
    with bare("web1") as ground:
        play = ground.start("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        facts = ground.inside("web1", FACTS)
        deadline = time.monotonic() + 120
        while not facts.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        end(play, modules=True)
        assert not ground.inside("web1", LOG).exists()
        again = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert again.hosts["web1"][2] == 0
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        assert Path(facts).exists()
        settled = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert settled.changed == 0
