"""``venvoy keys status``: which keys count, which of them are here, and until when metadata lasts."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from distributor.commands.options import (
    json_option,
    keys_option,
    report,
    root_option,
    state_option,
    store_option,
)


@click.command(name="status")
@store_option
@keys_option
@root_option
@state_option
@json_option
def command(store: str, keys: Path, root: Path | None, state: Path, *, as_json: bool) -> None:
    """Show each role's keys and threshold, which keys are here, and when its metadata expires.

    Nothing but public halves is read; what has less than a third of its life left is marked.

    \b
    Examples:
      venvoy keys status --store /srv/venvoy
      venvoy keys status --store https://repo.example/venvoy --json
    """
    from distributor.commands.opening import open_trust
    from distributor.publishing.expiring import expiries
    from distributor.publishing.key_listing import keys_here, role_keys

    opened, trust = open_trust(store, root, state)
    here = keys_here(keys)
    rows = []
    for item in expiries(trust, datetime.now(timezone.utc)):
        named = role_keys(trust, item.role)
        rows.append(
            {
                "role": item.role,
                "threshold": named.threshold,
                "keys": [{"keyid": keyid, "here": here.get(keyid)} for keyid in named.keyids],
                "expires": item.expires.isoformat(timespec="seconds"),
                "due": item.due,
                "advice": item.warning if item.due else None,
            }
        )
    lines = []
    for row, item in zip(rows, expiries(trust, datetime.now(timezone.utc)), strict=True):
        named = role_keys(trust, item.role)
        lines.append(
            f"{item.role}: {named.threshold} of {len(named.keyids)}, until {item.expires:%Y-%m-%d}"
            + (f"  DUE: {row['advice']}" if item.due else "")
        )
        lines += [f"  {keyid}{f'  {here[keyid]}' if keyid in here else ''}" for keyid in named.keyids]
    report({"store": opened.location, "roles": rows}, lambda: "\n".join(lines), as_json=as_json)
