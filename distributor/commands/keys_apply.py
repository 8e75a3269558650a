"""``venvoy keys apply``: bring a signed change of keys into a store."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from distributor.commands.options import json_option, keys_option, report, store_option


@click.command(name="apply")
@click.argument("change", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@keys_option
@json_option
def command(change: Path, store: str, keys: Path, *, as_json: bool) -> None:
    """Bring a CHANGE of keys that is signed by all who must into a store; hosts follow it by themselves.

    Needs the keys of snapshot and timestamp, as they will be, and those of a role from which a key was
    withdrawn, since they sign again what it signed. Safe to run again.

    \b
    Example:
      venvoy keys apply change.json --store /srv/venvoy --keys /etc/venvoy/online-keys
    """
    from distributor.places import read_root
    from distributor.publishing.initialisation import ROOT_FILE
    from distributor.publishing.key_applying import apply_change
    from distributor.publishing.key_change import read_change
    from distributor.publishing.keys import ROLES, load_signers
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    done = apply_change(
        opened,
        read_change(change),
        load_signers(keys, (), optional=[role for role in ROLES if role not in ("root", "targets")]),
        root=read_root(keys / ROOT_FILE),
        state_dir=keys / "seen",
        now=datetime.now(timezone.utc),
    )
    document = {"store": opened.location, "changed": done.changed, "signed_again": list(done.signed_again)}
    report(
        document,
        lambda: (
            "\n".join([f"applied to {opened.location}", *_counted(done.signed_again)])
            if done.changed
            else f"unchanged: {opened.location} has this change"
        ),
        as_json=as_json,
    )


def _counted(roles: tuple[str, ...]) -> list[str]:
    from distributor.trust.roles import is_bin

    lines = [f"signed again: {role}" for role in roles if not is_bin(role)]
    bins = sum(map(is_bin, roles))
    return [*lines, *([f"signed again: {bins} bins"] if bins else [])]
