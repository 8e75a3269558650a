"""``venvoy acknowledge``: the handlers that a play was told to run have run."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import dry_run_option, json_option, report, state_option


@click.command(name="acknowledge")
@click.option(
    "--run", "play", default="", metavar="NAME", help="The play that was told, as its installs named it."
)
@state_option
@dry_run_option
@json_option
def command(play: str, state: Path, *, dry_run: bool, as_json: bool) -> None:
    """Note that handlers have acted on the notifications of all venvs that told the play NAME.

    What a play that died was told stays owed, until it is told again. For roles; people need it where
    a venv is reported as changed again and again since nobody ran its handlers.

    \b
    Example:
      venvoy acknowledge
    """
    from distributor.host.announcing import acknowledge
    from distributor.host.exclusive import as_host_errors

    with as_host_errors(state):
        done = acknowledge(state, play, dry_run=dry_run)
    document = {
        "changed": bool(done),
        "acknowledged": [{"destination": str(path), "notify": list(topics)} for path, topics in done],
    }
    lines = [f"acknowledged {', '.join(topics)} of {path}" for path, topics in done]
    report(document, lambda: "\n".join(lines) or "unchanged: nothing was owed", as_json=as_json)
