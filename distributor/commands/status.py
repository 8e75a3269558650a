"""``venvoy status``: what is installed."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, report


@click.command(name="status")
@click.argument("places", nargs=-1, metavar="[PLACE]...", type=click.Path(path_type=Path))
@click.option("--history", "with_history", is_flag=True, help="Show each switch: when, who, how, from, to.")
@json_option
def command(places: tuple[Path, ...], *, with_history: bool, as_json: bool) -> None:
    """Show the venvs at PLACE: venvs, or folders that hold some. Default: /openstack/venvs.

    For each: the active release, those kept for rollback, those pinned by 'venvoy hold', the size of
    its files, and the processes that use it.

    \b
    Examples:
      venvoy status
      venvoy status /openstack/venvs/keystone-2026.1.0 --json
      venvoy status /openstack/venvs/keystone --history
    """
    from distributor.host.status import find_venvs, history, table
    from distributor.system.disk_errors import disk_errors

    with disk_errors("look at the venvs"):
        found = find_venvs(places or (Path("/openstack/venvs"),), with_users=True)
    report(
        {"venvs": [item.to_value() for item in found]},
        lambda: history(found) if with_history else table(found),
        as_json=as_json,
    )
