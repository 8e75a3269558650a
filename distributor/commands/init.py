"""``venvoy init``: one line that sets up a signed store."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, keys_option, report

if TYPE_CHECKING:
    from pathlib import Path

_PRODUCTION = """\
Hosts trust this store by that file: copy it to /etc/venvoy/root.json there, by role or image.
A production site does this differently:
  - the keys of root and targets go offline now: nothing that runs every day needs them;
  - each other key lies where its work is done: artifacts with builders, releases with managers,
    snapshot and timestamp with both (see docs/keys.md)."""


@click.command(name="init")
@click.argument("store", envvar="VENVOY_STORE", metavar="STORE")
@keys_option
@json_option
def command(store: str, keys: Path, *, as_json: bool) -> None:
    """Make STORE a signed store, with new keys unless there are some.

    Safe to run again: a complete store is left alone, a half-made one is completed.

    \b
    Examples:
      venvoy init /srv/venvoy
      venvoy init file:///srv/venvoy --keys /etc/venvoy/keys
    """
    from distributor.publishing.initialisation import ROOT_FILE, initialise
    from distributor.stores.location import open_writable_store
    from distributor.system.disk_errors import disk_errors
    from manifests.errors import StoreUnavailable

    opened = open_writable_store(store)
    with disk_errors(f"set up {opened.location}", StoreUnavailable):
        initialise(opened, keys, now=datetime.now(timezone.utc))
    root = (keys / ROOT_FILE).absolute()
    document = {"store": opened.location, "root": str(root), "keys": str(keys.absolute())}
    report(
        document,
        lambda: f"{opened.location} is ready. Its root: {root}\n{_PRODUCTION}",
        as_json=as_json,
    )
