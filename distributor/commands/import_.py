"""``venvoy import``: add a bundle to a store."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console


@click.command(name="import")
@click.argument("bundle", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@root_option
@state_option
@json_option
def command(bundle: Path, store: str, root: Path | None, state: Path, *, as_json: bool) -> None:
    """Add all that BUNDLE holds to a store, verified, payload first. Needs no keys.

    The store may be new, or one of the same site with an older state. What is there already stays;
    running it again changes nothing.

    \b
    Example:
      venvoy import 2026.1.0.bundle --store /srv/venvoy --root /etc/venvoy/root.json
    """
    from distributor.bundles.importing import import_bundle
    from distributor.bundles.store import open_bundle
    from distributor.places import read_root
    from distributor.stores.location import open_writable_store
    from distributor.system.disk_errors import disk_errors
    from distributor.trust.trust import Trust

    trusted = read_root(root)
    opened = open_bundle(bundle, trusted)
    trust = Trust(opened, state, trusted, check_expiry=False)
    trust.refresh()
    target = open_writable_store(store)
    console = Console(quiet=as_json)
    with disk_errors(f"import {bundle}"):
        added = import_bundle(
            opened,
            target,
            trust,
            progress=lambda count, total: console.moved("import", count, total),
        )
    console.done()
    document = {"store": target.location, "added": list(added)}
    lines = [f"added {path}" for path in added] or [f"unchanged: {target.location} has all of it"]
    report(document, lambda: "\n".join(lines), as_json=as_json)
