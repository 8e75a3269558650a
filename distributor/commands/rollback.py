"""``venvoy rollback``: the tree that was active before, active again."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from distributor.commands.options import (
    dry_run_option,
    json_option,
    report,
    role_request_option,
    state_option,
)
from manifests.console import Console

if TYPE_CHECKING:
    from distributor.host.announcing import Announcement


@click.command(name="rollback")
@click.argument("venv", type=click.Path(file_okay=False, path_type=Path))
@click.option("--to", metavar="RELEASE", help="Go back to this release. [default: the one before]")
@click.option("--force", is_flag=True, help="Go back although the release warns against it.")
@role_request_option
@state_option
@dry_run_option
@json_option
def command(
    venv: Path,
    to: str | None,
    role_request: IO[bytes] | None,
    state: Path,
    *,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Exchange VENV with a tree that was active there before; files of mutable paths come along.

    Needs no network and no fresh metadata. Trees are kept beside the venv until 'venvoy gc'.

    \b
    Examples:
      venvoy rollback /openstack/venvs/keystone
      venvoy rollback /openstack/venvs/keystone --to 2026.1.0
    """
    from distributor.host.exclusive import as_host_errors

    console = Console(quiet=as_json)
    destination = venv.absolute()
    announcement = _announcement(role_request, state)
    with as_host_errors(destination):
        if dry_run:
            from distributor.host.prediction import predict_rollback

            result = predict_rollback(destination, to, force=force, announcement=announcement)
        else:
            from distributor.host.rollback import roll_back

            result = roll_back(
                destination,
                to,
                force=force,
                announcement=announcement,
                report=lambda step, *_: console.line(f"{step} ..."),
            )
    document = {
        "changed": result.changed,
        "service": result.receipt.service,
        "from": result.before.release,
        "to": result.receipt.release,
        "artifact": result.receipt.identity,
        "destination": str(destination),
        "replaced": str(result.replaced) if result.replaced else None,
        "kept": list(result.kept),
        "aside": list(result.aside),
        "version": result.receipt.version,
        "release": result.receipt.release,
        "target": result.receipt.target,
        "packages": result.packages.to_value(),
        "facts": [f"{fact.section}.{fact.option}={fact.value}" for fact in result.facts],
        "notify": list(result.notify),
    }
    verb = "would roll back" if dry_run else "rolled back"
    text = (
        f"{verb}: {result.receipt.service} from release {result.before.release} "
        f"to {result.receipt.release} in {destination}"
    )
    if result.replaced is None:
        text = f"unchanged: release {result.receipt.release} is active in {destination}"
    report(document, lambda: text, as_json=as_json)


def _announcement(stream: IO[bytes] | None, state: Path) -> Announcement | None:
    if stream is None:
        return None
    from distributor.host.role_request import read_role_request

    return read_role_request(stream.read(), what="--role-request", state=state).announcement
