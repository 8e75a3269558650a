"""Progress: how fast, and how long it will take."""

from __future__ import annotations

import os
import pty

from manifests.console import Console, Pace


def test_pace_is_that_of_the_last_seconds() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    pace.note(0)
    assert pace.shown(10_000_000) == ""
    now = 1.0
    pace.note(1_000_000)
    assert pace.shown(10_000_000) == ", 1.0 MB/s, 0:09 left"
    for second in range(2, 40):  # ten times slower from here on
        now = float(second)
        pace.note(1_000_000 + 100_000 * (second - 1))
    assert pace.shown(1_000_000_000) == ", 100.0 kB/s, 2:45:52 left"


def test_pace_says_nothing_of_what_stands_still() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    for second in (0.0, 5.0):
        now = second
        pace.note(7)
    assert pace.shown(10) == ""


def test_a_moving_line_is_for_terminals_only() -> None:
    mine, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        console = Console(stream=terminal)
        console.moved("fetch", 500_000, 1_000_000)
        console.moved("fetch", 1_000_000, 1_000_000)
        console.done()
    said = os.read(mine, 4096).decode()
    os.close(mine)
    assert "fetch" in said
    assert "500.0 kB of 1.0 MB" in said
    assert " 50% " in said
