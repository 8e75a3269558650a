"""What commands say while they work: lines on stderr, a moving one only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

PROGRESS = "VENVOY_PROGRESS"
_REDRAW_SECONDS = 0.1
_WIDTH = 28
_PACE_SECONDS = 10.0
_LEAST_SECONDS = 0.3


class Console:
    """Progress for people. Results go to stdout and are not its business.

    Where ``VENVOY_PROGRESS`` is ``json`` it is for programs: one JSON object a line, ``{"line": TEXT}`` or
    ``{"stage": WHAT, "done": N, "total": N, "note": TEXT}``, and *quiet* has no effect.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._events = os.environ.get(PROGRESS) == "json"
        self._quiet = quiet and not self._events
        self._moving = self._events or self._stream.isatty()
        self._columns = 80
        if self._moving and not self._events:
            self._columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        self._drawn = 0
        self._next = 0.0
        self._paces: dict[str, Pace] = {}

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self._events:
            self._event({"line": text})
        elif not self._quiet:
            self._clear()
            print(text, file=self._stream, flush=True)

    def bar(self, what: str, done: int, total: int, note: str = "") -> None:
        """Show how far *what* is; only on a terminal, and not too often."""
        if self._quiet or not self._moving or (time.monotonic() < self._next and done < total):
            return
        self._next = time.monotonic() + _REDRAW_SECONDS
        if self._events:
            self._event({"stage": what, "done": done, "total": total, "note": note})
            return
        filled = _WIDTH * done // total if total else 0
        bar = "#" * filled + "." * (_WIDTH - filled)
        text = f"{what:<14} [{bar}] {100 * done // max(total, 1):3d}% {note}"[: self._columns - 1]
        self._stream.write("\r" + text.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(text)

    def moved(self, what: str, done: int, total: int) -> None:
        """Show that *done* of *total* bytes of *what* have moved, how fast, and how long it will take."""
        if self._moving and not self._quiet:
            pace = self._paces.setdefault(what, Pace())
            pace.note(done)
            self.bar(what, done, total, f"{size(done)} of {size(total)}{pace.shown(total)}")

    def done(self) -> None:
        """Remove the moving line."""
        self._clear()

    def _event(self, value: dict[str, str | int]) -> None:
        print(json.dumps(value), file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
            self._drawn = 0


class Pace:
    """How fast bytes move, by the last seconds, and how long the rest will take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> None:
        """Take note that *done* bytes have moved by now."""
        now = self._clock()
        self._noted.append((now, done))
        while len(self._noted) > 2 and now - self._noted[1][0] > _PACE_SECONDS:
            self._noted.popleft()

    def shown(self, total: int) -> str:
        """Return ``, 12.3 MB/s, 0:07 left``; nothing before it can be told."""
        (first, before), (last, done) = self._noted[0], self._noted[-1]
        if last - first < _LEAST_SECONDS or done <= before:
            return ""
        rate = (done - before) / (last - first)
        minutes, seconds = divmod(round((total - done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return f", {size(round(rate))}/s, {left} left"


def printable(text: str) -> str:
    """Return *text*, which others wrote, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def size(count: int) -> str:
    """Return a number of bytes for people: ``75.3 MB`` (decimal units)."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
