"""Command-line options that several commands of the builder share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from builder.caching.place import default_cache

_Command = TypeVar("_Command", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False, path_type=Path)


def cache_option(what: str) -> Callable[[_Command], _Command]:
    """Ask for the cache of wheels and layers; *what* says, as a sentence, what it is to the command."""
    return click.option(
        "--cache",
        type=FOLDER,
        default=default_cache,
        envvar="VENVOY_CACHE",
        help=f"{what} Also VENVOY_CACHE. [default: ~/.cache/venvoy]",
    )


def wheels_option(what: str) -> Callable[[_Command], _Command]:
    """Ask for read-only places of wheels, as ``sources``."""
    return click.option("--wheels", "-w", "sources", multiple=True, metavar="PLACE", help=what)


offline_option = click.option("--offline", is_flag=True, help="Use caches and folders alone, no network.")
pythons_option = click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="TARGET=PATH",
    help="The interpreter that compiles for a target; may be repeated.",
)
jobs_option = click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 256),
    default=lambda: os.cpu_count() or 1,
    help="Worker processes. [default: one a core]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
