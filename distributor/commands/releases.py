"""``venvoy releases``: list what release managers signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="releases")
@store_option
@root_option
@state_option
@json_option
def command(store: str, root: Path | None, state: Path, *, as_json: bool) -> None:
    """List the signed releases of a store, oldest first, with their services and channels. Needs no keys.

    \b
    Examples:
      venvoy releases --store file:///srv/venvoy
      venvoy releases --store /srv/venvoy --root ~/.config/venvoy/keys/root.json --json
    """
    from distributor.commands.opening import open_trust
    from distributor.trust.channels import channels
    from manifests.release_order import in_order

    opened, trust = open_trust(store, root, state, Console(quiet=as_json).line)
    signed = [trust.pins(name) for name in in_order(trust.releases())]
    moves = channels(trust)
    document = {
        "store": opened.location,
        "channels": {name: move.release for name, move in moves.items()},
        "releases": {
            pins.release: [
                {"service": pin.service, "version": pin.version, "target": pin.target} for pin in pins.pins
            ]
            for pins in signed
        },
    }
    lines = []
    for pins in signed:
        names = [name for name, move in moves.items() if move.release == pins.release]
        marks = f" [{', '.join(names)}]" if names else ""
        services = ", ".join(sorted({f"{pin.service} {pin.version}" for pin in pins.pins}))
        lines.append(f"{pins.release}{marks}: {services}")
    report(document, lambda: "\n".join(lines) or "no releases", as_json=as_json)
