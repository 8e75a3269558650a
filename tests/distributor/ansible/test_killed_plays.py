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

from tests.distributor.ansible.playground import FACTS, LOG, Playground, kill, wait_for_orphans

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
        told: list[int] = []
        expected: list[int] = []
        for point in range(POINTS):
            after = ("1.0.0", "1.0.1")[point % 2]
            ground.forget_handled()
            play = ground.start("keystone.yml", *options, **variables, keystone_venv_tag=after)
            with contextlib.suppress(subprocess.TimeoutExpired):
                play.wait(timeout=whole * (point + 1) / (POINTS + 1))
            kill(play, modules=modules)
            wait_for_orphans(play)
            acted = "start keystone" in ground.handled("web1")
            expected.append(2 if acted and not is_known(ground) else 1)
            done = ground.play("keystone.yml", *options, **variables, keystone_venv_tag=after)
            assert done.hosts["web1"][2] == 0
            facts = ground.facts("web1")["keystone"]
            assert facts["venv_tag"] == after
            assert ground.run("web1", f"{VENV}/bin/keystone-manage") == f"demo {after}\n"
            ground.run("web1", "/opt/venvoy/current/bin/venvoy", "verify", VENV)
            settled = ground.play("keystone.yml", *options, **variables, keystone_venv_tag=after)
            assert settled.changed == 0
            told.append(ground.handled("web1").count("start keystone"))
        print(f"handlers ran at each of the {POINTS} points: {told}")
        # None is lost. It runs again only where neither controller nor host could know that it had run: its
        # effect and the news of it cannot be one.
        assert told == expected
        assert told.count(2) <= POINTS // 3


def is_known(ground: Playground) -> bool:
    """Whether it is noted, on the controller or the host, that the handlers of a killed play have run."""
    receipt = json.loads(ground.inside("web1", Path(VENV) / ".venvoy/receipt.json").read_text())
    pending = receipt.get("pending") or {}
    return not pending.get("notify") or any(
        note.read_text() == pending["run"] for note in notes_of(ground).glob("*/*")
    )


def notes_of(ground: Playground) -> Path:
    return ground.folder / "home/venvoy/handled"


@pytest.mark.parametrize("modules", [False, True], ids=["controller", "controller-and-module"])
def test_killed_before_the_host_knows_that_handlers_ran_they_do_not_run_again(
    bare: Bare, prebuilt: dict[str, str], *, modules: bool
) -> None:
    with bare("web1") as ground:
        variables: dict[str, Any] = {**prebuilt, "keystone_packages": ["keystone"]}
        notes = notes_of(ground)
        play = ground.start("keystone.yml", "--tags", "install", **variables)
        deadline = time.monotonic() + 120
        while not any(notes.glob("*/*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        kill(play, modules=modules)
        assert any(notes.glob("*/*"))
        for options in (("--check",), ()):
            again = ground.play("keystone.yml", "--tags", "install", *options, **variables)
            assert again.changed == 0
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        # Nothing of it is in the way of what comes next.
        ground.play("keystone.yml", "--tags", "install", **variables, keystone_venv_tag="1.0.1")
        assert ground.handled("web1").count("start keystone") == 2


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
        assert not ground.inside("web1", LOG).exists()
        again = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert again.hosts["web1"][2] == 0
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        assert Path(facts).exists()
        settled = ground.play("keystone.yml", **prebuilt, keystone_packages=["keystone", "waiting"])
        assert settled.changed == 0
