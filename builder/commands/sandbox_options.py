"""What commands that build sdists ask for about their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from builder.sandbox.limits import BuildLimits

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _limits(_context: click.Context, _parameter: click.Parameter, text: str) -> BuildLimits:
    from builder.sandbox.limits import BuildLimits

    return BuildLimits.parse(text)


def sandbox_options(command: _Command) -> _Command:
    """Add ``--sandbox`` and ``--build-limits``; *command* gets them as ``sandbox`` and ``limits``."""
    command = click.option(
        "--build-limits",
        "limits",
        default="",
        callback=_limits,
        metavar="LIMITS",
        help="What building one sdist may use: time (seconds), memory, disk (bytes, K, M, G), processes. "
        "[default: time=3600,memory=8G,disk=16G,processes=1024]",
    )(command)
    return click.option(
        "--sandbox",
        type=click.Choice(["auto", "require", "off"]),
        default="auto",
        envvar="VENVOY_SANDBOX",
        show_default=True,
        help="Build sdists in bubblewrap: where it is there, always or not at all, or never. "
        "Also VENVOY_SANDBOX.",
    )(command)
