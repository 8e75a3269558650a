"""``venvoy rollback``: the tree that was active before, active again."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, report
from manifests.console import Console


@click.command(name="rollback")
@click.argument("venv", type=click.Path(file_okay=False, path_type=Path))
@click.option("--to", metavar="RELEASE", help="Go back to this release. [default: the one before]")
@click.option("--force", is_flag=True, help="Go back although the release warns against it.")
@json_option
def command(venv: Path, to: str | None, *, force: bool, as_json: bool) -> None:
    """Exchange VENV with a tree that was active there before; files of mutable paths come along.

    Needs no network and no fresh metadata. Trees are kept beside the venv until 'venvoy gc'.

    \b
    Examples:
      venvoy rollback /openstack/venvs/keystone
      venvoy rollback /openstack/venvs/keystone --to 2026.1.0
    """
    from distributor.host.exclusive import as_host_errors
    from distributor.host.rollback import roll_back

    console = Console(quiet=as_json)
    destination = venv.absolute()
    with as_host_errors(destination):
        result = roll_back(destination, to, force=force, report=lambda step, *_: console.line(f"{step} ..."))
    document = {
        "changed": result.replaced is not None,
        "service": result.receipt.service,
        "from": result.before.release,
        "to": result.receipt.release,
        "artifact": result.receipt.identity,
        "destination": str(destination),
        "replaced": str(result.replaced) if result.replaced else None,
        "kept": list(result.kept),
        "aside": list(result.aside),
    }
    text = (
        f"rolled back: {result.receipt.service} from release {result.before.release} "
        f"to {result.receipt.release} in {destination}"
    )
    if result.replaced is None:
        text = f"unchanged: release {result.receipt.release} is active in {destination}"
    report(document, lambda: text, as_json=as_json)
