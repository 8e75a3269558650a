"""Command-line options that the service's commands share."""

from __future__ import annotations

from pathlib import Path

import click

state_option = click.option(
    "--state",
    envvar="VENVOY_SERVICE_STATE",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/venvoy-service"),
    show_default=True,
    metavar="DIRECTORY",
    help="The service's database, logs and builds. Also VENVOY_SERVICE_STATE.",
)
