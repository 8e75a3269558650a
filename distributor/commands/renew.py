"""``venvoy renew``: sign the store's present state for another term."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, keys_option, report, store_option


@click.command(name="renew")
@store_option
@keys_option
@json_option
def command(store: str, keys: Path, *, as_json: bool) -> None:
    """Sign snapshot and timestamp of the store again, so that hosts go on believing it.

    Every publish and every pin does so too. A store in which nothing happens for 30 days needs it:
    run it daily, from cron or CI. Needs the keys of snapshot and timestamp alone.

    \b
    Example:
      venvoy renew --store /srv/venvoy --keys /etc/venvoy/online-keys
    """
    from distributor.publishing.repository import RENEW_ROLES, open_repository
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    open_repository(opened, keys, RENEW_ROLES).renew()
    report({"store": opened.location, "renewed": True}, lambda: f"renewed {opened.location}", as_json=as_json)
