"""Writes docs/commands.md from what ``--help`` prints: ``python docs/generate_commands.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

import venvoy

PAGE = Path(__file__).with_name("commands.md")
_HEAD = """\
# Commands

What `--help` prints for each command. Do not edit: `python docs/generate_commands.py` writes this page,
and a test holds it against the code.
"""


def page() -> str:
    """Return the page as it must be."""
    context = click.Context(venvoy.cli)
    words: list[tuple[str, ...]] = []
    for name in venvoy.cli.list_commands(context):
        words.append((name,))
        command = venvoy.cli.get_command(context, name)
        if isinstance(command, click.Group):
            words += [(name, part) for part in command.list_commands(context)]
    return "\n".join([_HEAD, _section(), *(_section(*item) for item in words)])


def _section(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, venvoy.__file__, *words, "--help"],
        env={**os.environ, "COLUMNS": "100", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return f"## {' '.join(('venvoy', *words))}\n\n```\n{done.stdout.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
