"""``venvoy forward``: bring into a store what release managers signed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distributor.commands.options import json_option, keys_option, report, store_option
from distributor.commands.site_option import require_site, site_option, update_site
from manifests.console import Console


@click.command(name="forward")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@keys_option
@site_option
@json_option
def command(file: Path, store: str, keys: Path, *, site: bool, as_json: bool) -> None:
    """Show to hosts what release managers signed into FILE ('venvoy pin --propose', 'promote --propose').

    Needs the keys of snapshot and timestamp, which can alter nothing of it. It is verified before anything
    is stored: the managers' signatures, that it follows the store's present state, that builders signed what
    it pins. The same file again changes nothing.

    \b
    Examples:
      venvoy forward 2026.1.0.json --store /srv/venvoy
      venvoy forward 2026.1.0.json --store s3://venvoy --keys /etc/venvoy/service-keys
    """
    from distributor.publishing.built_files import read_manifest
    from distributor.publishing.forwarding import forward
    from distributor.publishing.repository import RENEW_ROLES, open_repository
    from distributor.stores.location import open_writable_store
    from manifests.proposal import Proposal

    require_site(wanted=site)
    proposal = Proposal.from_json(read_manifest(file), what=str(file))
    opened = open_writable_store(store)
    repository = open_repository(opened, keys, RENEW_ROLES)
    done = forward(repository, proposal)
    lines = [f"forwarded {path}" for path in done.paths] or ["unchanged: hosts see this already"]
    document: dict[str, Any] = {"store": opened.location, "forwarded": list(done.paths)}
    if site:
        document["site"] = update_site(opened, repository.trust, store, Console(quiet=as_json))
    report(document, lambda: "\n".join(lines), as_json=as_json)
