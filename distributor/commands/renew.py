"""``venvoy renew``: sign the store's present state for another term."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from distributor.commands.options import json_option, keys_option, report, store_option, warn_of_expiry


@click.command(name="renew")
@store_option
@keys_option
@json_option
def command(store: str, keys: Path, *, as_json: bool) -> None:
    """Sign snapshot and timestamp of the store again, so that hosts go on believing it.

    Every publish, pin and promote does so too. A store in which nothing happens for 30 days needs it: run it
    daily, from cron or CI. Needs the keys of snapshot and timestamp alone. What else is in the last third
    of its life is signed again where its keys are here, and named where they are not.

    \b
    Example:
      venvoy renew --store /srv/venvoy --keys /etc/venvoy/online-keys
    """
    from distributor.publishing.expiring import expiries
    from distributor.publishing.key_rotation import renew_terms
    from distributor.publishing.keys import key_files
    from distributor.publishing.repository import RENEW_ROLES, open_repository
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    repository = open_repository(opened, keys, RENEW_ROLES, optional=("artifacts", "releases"))
    renewed = list(repository.renew())
    now = datetime.now(timezone.utc)
    here = key_files(keys)
    due = frozenset(item.role for item in expiries(repository.trust, now) if item.due and item.role in here)
    terms = due & {"root", "targets"}
    if terms:
        renew_terms(opened, keys, terms, now=now)
    warn_of_expiry(repository.trust)
    renewed += sorted(terms)
    report(
        {"store": opened.location, "renewed": True, "signed_again": renewed},
        lambda: "\n".join([f"renewed {opened.location}", *(f"signed again: {role}" for role in renewed)]),
        as_json=as_json,
    )
