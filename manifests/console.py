"""What commands say while they work: lines on stderr, a moving one only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TextIO

PROGRESS = "VENVOY_PROGRESS"
_REDRAW_SECONDS = 0.1
_WIDTH = 28


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


def size(count: int) -> str:
    """Return a number of bytes for people: ``75.3 MB`` (decimal units)."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
