"""``venvoy releases``: list what release managers signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="releases")
@store_option
@root_option
@state_option
@json_option
def command(store: str, root: Path | None, state: Path, *, as_json: bool) -> None:
    """List the signed releases of a store with their services. Needs no keys.

    \b
    Examples:
      venvoy releases --store file:///srv/venvoy
      venvoy releases --store /srv/venvoy --root ~/.config/venvoy/keys/root.json --json
    """
    from distributor.places import read_root
    from distributor.stores.location import open_store
    from distributor.trust.trust import Trust

    opened = open_store(store)
    trust = Trust(opened, state, read_root(root))
    trust.refresh()
    signed = [trust.pins(name) for name in trust.releases()]
    document = {
        "store": opened.location,
        "releases": {
            pins.release: [
                {"service": pin.service, "version": pin.version, "target": pin.target} for pin in pins.pins
            ]
            for pins in signed
        },
    }
    lines = [
        f"{pins.release}: " + ", ".join(sorted({f"{pin.service} {pin.version}" for pin in pins.pins}))
        for pins in signed
    ]
    report(document, lambda: "\n".join(lines) or "no releases", as_json=as_json)
