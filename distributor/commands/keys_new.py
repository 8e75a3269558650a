"""``venvoy keys new``: one key."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, keys_option, report


@click.command(name="new")
@click.argument("role", metavar="ROLE")
@click.option("--label", metavar="NAME", help="Whose or which key it is, where a role has several.")
@click.option(
    "--uri",
    metavar="URI",
    help="Use a key in a token or key service: hsm:2?label=TOKEN, awskms:ID, azurekms:, gcpkms:, hv:NAME.",
)
@keys_option
@json_option
def command(role: str, label: str | None, uri: str | None, keys: Path, *, as_json: bool) -> None:
    """Make a key for ROLE, or take one that is in a token or key service. It counts when a change names it.

    Files are encrypted where VENVOY_KEY_PASSPHRASE is set. The public half is written beside it, for
    'venvoy keys draft --add'.

    \b
    Examples:
      venvoy keys new releases --label ada
      venvoy keys new root --uri 'hsm:2?label=venvoy-root' --keys /media/offline/keys
      venvoy keys new artifacts.nova --keys ./nova-builder
    """
    from distributor.publishing.key_making import make_key

    made = make_key(keys, role, label=label, uri=uri)
    document = {"role": role, "keyid": made.keyid, "key": str(made.private), "public": str(made.public)}
    report(
        document,
        lambda: f"key {made.keyid} for {role}: {made.private}\nits public half: {made.public}",
        as_json=as_json,
    )
