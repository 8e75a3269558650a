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
    from distributor.host.rollback import RollbackResult


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
    """Make active again what was before: the tree that VENV was exchanged with, or where a link led.

    A directory is exchanged with a tree kept beside it; files of mutable paths come along. A link is
    flipped to the venv that it led to before, or to the one of RELEASE beside that; each venv keeps its
    own files. Needs no network and no fresh metadata, and refuses trees that are not whole. Killed? Run
    the same command again.

    \b
    Examples:
      venvoy rollback /openstack/venvs/keystone
      venvoy rollback /openstack/venvs/keystone --to 2026.1.0
    """
    from distributor.host.exclusive import as_host_errors

    console = Console(quiet=as_json)
    place = venv.absolute()
    announcement = _announcement(role_request, state)

    def tell(result: RollbackResult) -> None:
        report(_document(place, result), lambda: _text(place, result, dry_run=dry_run), as_json=as_json)

    def step(name: str, _done: int, _total: int) -> None:
        console.line(f"{name} ...")

    with as_host_errors(place):
        if dry_run:
            from distributor.host import prediction

            predict = prediction.predict_link_rollback if place.is_symlink() else prediction.predict_rollback
            tell(predict(place, to, force=force, announcement=announcement))
        elif place.is_symlink():
            from distributor.host.link_rollback import roll_back_link

            roll_back_link(place, to, force=force, announcement=announcement, report=step, tell_of=tell)
        else:
            from distributor.host.rollback import roll_back

            roll_back(place, to, force=force, announcement=announcement, report=step, tell_of=tell)


def _document(place: Path, result: RollbackResult) -> dict[str, object]:
    return {
        "changed": result.changed,
        "service": result.receipt.service,
        "from": result.before.release,
        "to": result.receipt.release,
        "artifact": result.receipt.identity,
        "destination": str(place),
        "real_path": str(place.resolve()),
        "replaced": str(result.replaced) if result.replaced else None,
        "kept": list(result.kept),
        "aside": list(result.aside),
        "restart_pids": list(result.restart_pids),
        "version": result.receipt.version,
        "release": result.receipt.release,
        "target": result.receipt.target,
        "packages": result.packages.to_value(),
        "facts": [f"{fact.section}.{fact.option}={fact.value}" for fact in result.facts],
        "notify": list(result.notify),
    }


def _text(place: Path, result: RollbackResult, *, dry_run: bool) -> str:
    service, release = result.receipt.service, result.receipt.release
    if result.replaced is None:
        return f"unchanged: release {release} is active in {place}"
    verb = "would roll back" if dry_run else "rolled back"
    lines = [f"{verb}: {service} from release {result.before.release} to {release} in {place}"]
    lines += [f"kept {path}" for path in result.kept]
    lines += [f"see {path}" for path in result.aside]
    if result.restart_pids:
        lines.append(f"restart: {', '.join(map(str, result.restart_pids))} run from what was active before")
    return "\n".join(lines)


def _announcement(stream: IO[bytes] | None, state: Path) -> Announcement | None:
    if stream is None:
        return None
    from distributor.host.role_request import read_role_request

    return read_role_request(stream.read(), what="--role-request", state=state).announcement
