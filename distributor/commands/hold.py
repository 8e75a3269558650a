"""``venvoy hold``: keep a tree from ``venvoy gc``."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, report


@click.command(name="hold")
@click.argument("venv", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--release", metavar="RELEASE", help="The tree of this release. [default: the active one]")
@click.option("--why", metavar="TEXT", help="What for; 'venvoy status' and 'venvoy gc' show it.")
@click.option("--off", is_flag=True, help="Take the hold off again.")
@json_option
def command(venv: Path, release: str | None, why: str | None, *, off: bool, as_json: bool) -> None:
    """Keep a tree of VENV, the active one or one kept for rollback, until it is let go.

    'venvoy gc' never removes a held tree; a held active tree stays held when it is replaced.

    \b
    Examples:
      venvoy hold /openstack/venvs/keystone --why "until the migration is through"
      venvoy hold /openstack/venvs/keystone --release 2026.1.0
      venvoy hold /openstack/venvs/keystone --release 2026.1.0 --off
    """
    from distributor.host.hold import hold, let_go
    from distributor.system.disk_errors import disk_errors

    if off and why is not None:
        raise click.UsageError("--why has no meaning with --off")
    destination = venv.resolve() if venv.is_symlink() else venv.absolute()
    with disk_errors(f"hold {destination}"):
        result = let_go(destination, release) if off else hold(destination, release, why)
    document = {
        "changed": result.changed,
        "destination": str(destination),
        "tree": str(result.tree),
        "release": result.release,
        "pinned": result.hold is not None,
        "held": result.hold.to_value() if result.hold else None,
    }
    state = str(result.hold) if result.hold else "not held"
    prefix = "" if result.changed else "unchanged: "
    report(document, lambda: f"{prefix}release {result.release} in {result.tree}: {state}", as_json=as_json)
