"""``venvoy keys rotate``: replace a key, where all keys that it takes are here."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from distributor.commands.options import json_option, keys_option, report, store_option


@click.command(name="rotate")
@click.argument("role", metavar="ROLE")
@click.option("--replace", metavar="KEYID", help="Which key goes, where the role has several.")
@store_option
@keys_option
@json_option
def command(role: str, replace: str | None, store: str, keys: Path, *, as_json: bool) -> None:
    """Make a new key for ROLE and let it count in place of the old one, which may be lost.

    Needs the key of root (for root, targets, snapshot, timestamp) or of targets (for the others), and those
    of snapshot and timestamp. Hosts follow by themselves. The old key is put into 'retired'. Where the keys
    are apart, use draft, sign and apply.

    \b
    Examples:
      venvoy keys rotate timestamp --store /srv/venvoy
      venvoy keys rotate releases --replace 1f0c93 --store /srv/venvoy
    """
    from distributor.publishing.key_rotation import rotate_key
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    done = rotate_key(opened, keys, role, keyid=replace, now=datetime.now(timezone.utc))
    document = {
        "store": opened.location,
        "role": role,
        "old": done.old or None,
        "new": done.new,
        "signed_again": list(done.signed_again),
    }
    text = f"{role}: key {done.new} counts" + (f", {done.old} no longer does" if done.old else " already")
    report(document, lambda: text, as_json=as_json)
