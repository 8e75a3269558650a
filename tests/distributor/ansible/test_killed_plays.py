"""Plays that die: at any point, with or without the module that they started."""

from __future__ import annotations

import contextlib
import json
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


def test_killed_at_ten_points_all_converges_and_all_is_told(bare: Bare, prebuilt: dict[str, str]) -> None:
    with bare("web1") as ground:
        variables: dict[str, Any] = {**prebuilt, "keystone_bin": f"{VENV}/bin"}
        options = ("--tags", "install")
        ground.play("keystone.yml", *options, **variables, keystone_venv_tag="1.0.0")
        started = time.monotonic()
        ground.play("keystone.yml", *options, **variables, keystone_venv_tag="1.0.1")
        whole = time.monotonic() - started
        told = []
        for point in range(POINTS):
            before, after = (("1.0.1", "1.0.0"), ("1.0.0", "1.0.1"))[point % 2]
            ground.forget_handled()
            play = ground.start("keystone.yml", *options, **variables, keystone_venv_tag=after)
            with contextlib.suppress(Exception):
                play.wait(timeout=whole * (point + 1) / (POINTS + 1))
            kill(play, modules=point % 4 < 2)
            if play.stdout is not None:
                play.stdout.close()
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
            assert before != after
        assert min(told) == 1, told
        # What was done and not yet acknowledged is done again: a kill between the two repeats that handler.
        assert max(told) <= 2, told
        assert sum(count == 2 for count in told) <= POINTS // 3, told


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
        kill(play, modules=True)
        if play.stdout is not None:
            play.stdout.close()
        assert not ground.inside("web1", LOG).exists()
        again = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert again.hosts["web1"][2] == 0
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        assert Path(facts).exists()
        settled = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert settled.changed == 0
