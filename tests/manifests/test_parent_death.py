"""A process that asked for it ends with its parent, and one that asked too late ends too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FAMILY = """
import os, signal, sys, time
from manifests.parent_death import end_with_parent
parent = os.getpid()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    if sys.argv[1] == "late":
        while os.getppid() == parent:
            time.sleep(0.01)
    if sys.argv[1] != "never":
        end_with_parent(parent)
    time.sleep(2)
    print("lives on", flush=True)
    os._exit(0)
time.sleep(0.3)
os.kill(parent, signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "lives"), [("in time", False), ("late", False), ("never", True)])
def test_it_ends_with_its_parent(when: str, lives: bool) -> None:
    command = [sys.executable, "-c", _FAMILY, when]
    # The pipe is read until the last of them has ended.
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout
    assert ("lives on" in said) == lives
    assert said.splitlines()[0].isdecimal()
