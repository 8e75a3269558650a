"""``venvoy gc``: remove replaced trees."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.options import json_option, report
from manifests.console import size


@click.command(name="gc")
@click.argument("places", nargs=-1, metavar="[PLACE]...", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="How many replaced trees of each venv stay for rollback.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@json_option
def command(places: tuple[Path, ...], keep: int, *, dry_run: bool, as_json: bool) -> None:
    """Remove the replaced trees of the venvs at PLACE (default: /openstack/venvs) that nobody needs.

    Active trees always stay, and so does what a process has mapped, opened, entered or was started
    from. Nothing but trees that Venvoy itself put aside is ever removed.

    \b
    Examples:
      venvoy gc --dry-run
      venvoy gc /openstack/venvs --keep 2
    """
    from distributor.retention import collect

    decisions = collect(places or (Path("/openstack/venvs"),), keep=keep, dry_run=dry_run)
    freed = sum(item.size for item in decisions if item.removed)
    document = {
        "dry_run": dry_run,
        "freed_bytes": freed,
        "trees": [
            {
                "path": str(item.path),
                "release": item.release,
                "removed": item.removed,
                "why": item.why,
                "size": item.size,
            }
            for item in decisions
        ],
    }
    verb = "would remove" if dry_run else "removed"
    lines = [
        f"{verb if item.removed else 'kept'} {item.path} (release {item.release or 'none'}, "
        f"{size(item.size)}): {item.why}"
        for item in decisions
    ]
    lines.append(f"{'would free' if dry_run else 'freed'} {size(freed)}")
    report(document, lambda: "\n".join(lines), as_json=as_json)
