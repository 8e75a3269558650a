"""``venvoy history``: what a channel meant, since when, by whom and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.channels import Move


@click.command(name="history")
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@store_option
@root_option
@state_option
@json_option
def command(names: tuple[str, ...], store: str, root: Path | None, state: Path, *, as_json: bool) -> None:
    """List all moves of each CHANNEL (none named: of all), the newest first. Needs no keys.

    Each move is bound to the one before it, so that none can be left out. (A host's own history is in
    'venvoy status'.)

    \b
    Examples:
      venvoy history stable --store /srv/venvoy
      venvoy history --json
    """
    from distributor.commands.opening import open_trust
    from distributor.trust.channels import channel_heads, moves

    opened, trust = open_trust(store, root, state, Console(quiet=as_json).line)
    found = {name: list(moves(trust, name)) for name in names or channel_heads(trust)}
    document = {
        "store": opened.location,
        "channels": {name: [_plain(move) for move in past] for name, past in found.items()},
    }
    lines = [line for name, past in found.items() for line in (f"{name}:", *map(_line, past))]
    report(document, lambda: "\n".join(lines) or "no channels", as_json=as_json)


def _plain(move: Move) -> dict[str, object]:
    fields = ("number", "release", "came_from", "back", "when", "who", "why")
    return {name: getattr(move, name) for name in fields}


def _line(move: Move) -> str:
    before = f", {'back' if move.back else 'on'} from {move.came_from}" if move.came_from else ""
    return f"  {move.number}. {move.when} {move.release}{before}, by {move.who}: {move.why}"
