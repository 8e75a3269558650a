"""What the demo shows: headings, the commands it runs with their own output, and a closing table."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MAX_WIDTH = 100


class StepFailed(Exception):
    """A command did not end as it must, or its result is not there."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A command that ran: its standard output, and how long it took."""

    output: str
    seconds: float


@dataclass(kw_only=True)
class Screen:
    """Runs commands in *folder* and shows them. Colours appear on a terminal only, unless NO_COLOR is set."""

    folder: Path
    environment: Mapping[str, str]
    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._colours = self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._width = min(shutil.get_terminal_size((_MAX_WIDTH, 24)).columns, _MAX_WIDTH)

    def step(self, title: str, explanation: str) -> None:
        """Begin a step of the demo."""
        print(f"\n{self._styled(f'== {title} '.ljust(self._width, '='), '1')}")
        print(textwrap.fill(explanation, self._width), flush=True)

    def say(self, text: str) -> None:
        """Show *text*, folded to the width of the terminal."""
        print(self._folded(text), flush=True)

    def show_command(self, command: Sequence[str] | str) -> None:
        """Show a command as one would type it."""
        words = command.split() if isinstance(command, str) else [shlex.quote(word) for word in command]
        lines = [f"$ {words[0]}"]
        for word in words[1:]:
            if len(lines[-1]) + len(word) + 3 > self._width:
                lines[-1] += " \\"
                lines.append(f"    {word}")
            else:
                lines[-1] += f" {word}"
        print(self._styled("\n".join(lines), "36"), flush=True)

    def run(self, command: Sequence[str], *, expect: int = 0) -> Finished:
        """Run *command*, show it and what it says, and return that.

        Raises StepFailed where it ends with another status than *expect*.
        """
        self.show_command(command)
        started = time.monotonic()
        # On a terminal errors and progress go straight there, so that bars move; else all is in order.
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if self._terminal else subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        lines = []
        with process:
            if process.stdout is not None:
                for line in process.stdout:
                    lines.append(line)
                    print(self._folded(line.rstrip("\n")), flush=True)
        seconds = time.monotonic() - started
        print(self._styled(f"({seconds:.2f} s)", "2"), flush=True)
        if process.returncode != expect:
            raise StepFailed(f"{command[0]} ended with status {process.returncode}, expected {expect}")
        return Finished(output="".join(lines), seconds=seconds)

    def record(self, name: str, seconds: float, note: str) -> None:
        """Add a row to the closing table."""
        self.rows.append((name, seconds, note))

    def summary(self) -> None:
        """Show the closing table."""
        widest = max(len(name) for name, _, _ in self.rows)
        print(f"\n{self._styled('== Summary '.ljust(self._width, '='), '1')}")
        print(f"{'step'.ljust(widest)}  seconds  result")
        for name, seconds, note in self.rows:
            indent = widest + 11
            folded = textwrap.fill(note, max(self._width - indent, 20), subsequent_indent=" " * indent)
            print(f"{name.ljust(widest)}  {seconds:7.2f}  {folded}")
        total = sum(seconds for _, seconds, _ in self.rows)
        print(f"{'all'.ljust(widest)}  {total:7.2f}", flush=True)

    def fail(self, text: str) -> None:
        """Say on standard error why the demo ends here."""
        sys.stdout.flush()
        print(self._folded(f"demo: {text}"), file=sys.stderr, flush=True)

    def _folded(self, text: str) -> str:
        if len(text) <= self._width:
            return text
        return textwrap.fill(
            text,
            self._width,
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )

    def _styled(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text
