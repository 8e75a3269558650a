"""``venvoy mirror``: bring a store to the state of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="mirror")
@click.argument("source", metavar="SOURCE")
@store_option
@click.option(
    "--hold",
    is_flag=True,
    help="Bring everything but the timestamp: the copy shows its old state until then.",
)
@click.option(
    "--delete",
    is_flag=True,
    help="Afterwards remove payload that SOURCE does not sign, as after a prune, and replaced metadata.",
)
@root_option
@state_option
@json_option
def command(
    source: str, store: str, root: Path | None, state: Path, *, hold: bool, delete: bool, as_json: bool
) -> None:
    """Bring the store at --store to the state of the store SOURCE, verified, payload first. Needs no keys.

    Where several copies answer under one address, run it with --hold for each of them, and then without
    for each: a reader who meets another copy at every request finds on all of them what any timestamp
    names. Running it again changes nothing.

    \b
    Examples:
      venvoy mirror http://repo1:8181/venvoy --store /var/www/repo/venvoy --hold
      venvoy mirror http://repo1:8181/venvoy --store /var/www/repo/venvoy --delete
    """
    from distributor.places import read_root
    from distributor.publishing.mirroring import mirror
    from distributor.stores.location import open_store, open_writable_store
    from distributor.system.disk_errors import disk_errors

    copy = open_writable_store(store)
    console = Console(quiet=as_json)
    with disk_errors(f"mirror {source}"):
        done = mirror(
            open_store(source),
            read_root(root),
            state,
            copy,
            show=not hold,
            remove=delete,
            progress=lambda count, total: console.bar("mirror", count, total),
        )
    console.done()
    document = {
        "store": copy.location,
        "changed": bool(done.added or done.removed),
        "added": list(done.added),
        "removed": list(done.removed),
        "shown": done.shown,
    }
    lines = [f"added {path}" for path in done.added] + [f"removed {path}" for path in done.removed]
    report(document, lambda: "\n".join(lines) or f"unchanged: {copy.location}", as_json=as_json)
