"""``venvoy keys sign``: sign a drafted change of keys, off line."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.keys_draft import change_document, change_text
from distributor.commands.options import json_option, keys_option, report


@click.command(name="sign")
@click.argument("change", type=click.Path(dir_okay=False, path_type=Path))
@keys_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(change: Path, keys: Path, *, yes: bool, as_json: bool) -> None:
    """Add the signatures of the root and targets keys here to CHANGE, after showing what it changes.

    Needs no network: what the change starts from is in it, and is verified by root.json beside the keys.

    \b
    Example:
      venvoy keys sign /media/usb/change.json --keys /media/offline/keys
    """
    from distributor.places import read_root
    from distributor.publishing.initialisation import ROOT_FILE
    from distributor.publishing.key_change import read_change
    from distributor.publishing.key_drafting import describe
    from distributor.publishing.keys import load_signers
    from distributor.system.disk_errors import disk_errors
    from manifests.atomic_file import write_atomically
    from manifests.errors import Refused

    read = read_change(change)
    read.verify(read_root(keys / ROOT_FILE))
    if not yes:
        click.echo("\n".join(describe(read)), err=True)
        if not click.confirm("Sign this?", err=True):
            raise Refused(f"{change} was not signed")
    signers = load_signers(keys, (), optional=("root", "targets"))
    signed, done = read.signed_by(signers)
    if not done:
        raise Refused(f"no key in {keys} may sign {change}: it takes {'; '.join(read.lacking()) or 'none'}")
    with disk_errors(f"write {change}"):
        write_atomically(change.absolute(), signed.to_json())
    document = {**change_document(signed, change), "signed": done}
    report(
        document,
        lambda: "\n".join([*(f"signed {item}" for item in done), change_text(signed, change)]),
        as_json=as_json,
    )
