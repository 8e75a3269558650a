"""Freed buffers are used again; told by the pages that the kernel had to make."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
if "reuse" in sys.argv:
    from distributor.system.memory import reuse_large_buffers
    reuse_large_buffers(16 * 2**20)
def fill(): return len(b"x" * (12 * 2**20))
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    command = [sys.executable, "-c", _FAULTS, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_large_buffers_are_used_again() -> None:
    plain = faults()
    if plain < 1000:
        pytest.skip("this C library keeps large buffers by itself, or the kernel makes large pages")
    assert faults("reuse") < plain / 10
