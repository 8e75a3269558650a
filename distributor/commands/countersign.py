"""``venvoy countersign``: a further manager's signature on what another one signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distributor.commands.options import json_option, keys_option, report, store_option

if TYPE_CHECKING:
    from distributor.publishing.countersigning import Reviewed


@click.command(name="countersign")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@keys_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(file: Path, store: str, keys: Path, *, yes: bool, as_json: bool) -> None:
    """Add the signature of the releases key here to FILE, which 'pin' or 'promote --propose' wrote.

    For stores where several managers must sign: the first one proposes, each further one signs the same file,
    'venvoy forward' brings it into the store. What is signed is checked against the store, and shown before.

    \b
    Examples:
      venvoy pin 2026.1.0 build/ --propose 2026.1.0.json --keys ada/     # Ada
      venvoy countersign 2026.1.0.json --keys bob/                       # Bob, on another machine
      venvoy forward 2026.1.0.json --keys /etc/venvoy/online-keys
    """
    from distributor.places import read_root
    from distributor.publishing.built_files import read_manifest
    from distributor.publishing.countersigning import countersign, review
    from distributor.publishing.initialisation import ROOT_FILE
    from distributor.publishing.keys import load_signers
    from distributor.stores.location import open_store
    from distributor.system.disk_errors import disk_errors
    from distributor.trust.trust import RELEASES, Trust
    from manifests.atomic_file import write_atomically
    from manifests.errors import Refused, StoreUnavailable
    from manifests.proposal import Proposal

    proposal = Proposal.from_json(read_manifest(file), what=str(file))
    opened = open_store(store)
    trust = Trust(opened, keys / "seen", read_root(keys / ROOT_FILE))
    trust.refresh()
    found = review(trust, proposal)
    if not yes:
        click.echo("\n".join(_describe(found)), err=True)
        if not click.confirm("Sign this?", err=True):
            raise Refused(f"{file} was not signed")
    signed, now = countersign(trust, proposal, load_signers(keys, (RELEASES,))[RELEASES])
    with disk_errors(f"write {file}", StoreUnavailable):
        write_atomically(file.absolute(), signed.to_json())
    document: dict[str, Any] = {
        "file": str(file),
        "store": opened.location,
        "releases": [pins.release for pins in now.releases],
        "channels": [{"channel": move.channel, "release": move.release} for move in now.moves],
        "signatures": now.signed,
        "threshold": now.threshold,
    }
    report(document, lambda: "\n".join([*_describe(now), _next(now)]), as_json=as_json)


def _describe(found: Reviewed) -> list[str]:
    lines = []
    for pins in found.releases:
        lines.append(f"release {pins.release}:")
        lines += [f"  {pin.service} {pin.version} for {pin.target}" for pin in pins.pins]
    for move in found.moves:
        way = f"from {move.came_from} to" if move.came_from else "to"
        lines.append(f"{move.channel} goes {way} {move.release}: {move.why} ({move.who}, {move.when})")
    return [*lines, f"{found.signed} of {found.threshold} signatures"]


def _next(found: Reviewed) -> str:
    if found.signed < found.threshold:
        return "further managers: venvoy countersign; then venvoy forward"
    return "enough: venvoy forward brings it into the store"
