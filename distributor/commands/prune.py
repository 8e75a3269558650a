"""``venvoy prune``: remove from a store what no release pins."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from distributor.commands.options import dry_run_option, json_option, keys_option, report, store_option
from manifests.console import Console, size

if TYPE_CHECKING:
    from pathlib import Path

    from distributor.publishing.pruning import Leftover


@click.command(name="prune")
@store_option
@keys_option
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=7,
    show_default=True,
    metavar="DAYS",
    help="How long something must have been unpinned, or replaced, as far as earlier runs saw. 0: at once.",
)
@dry_run_option
@json_option
def command(store: str, keys: Path, grace: float, *, dry_run: bool, as_json: bool) -> None:
    """Remove the artifacts that no release pins, with their patches, bills of materials and provenance.

    Needs the keys of artifacts, snapshot and timestamp. Artifacts are published before they are pinned:
    so a run notes what is unpinned, and a later one removes it when the days of grace are over. Files that
    an interrupted publish left go the same way, and versions of metadata that were replaced, but for
    the last two of each. Publishers may work at the same time.

    \b
    Examples:
      venvoy prune --dry-run
      venvoy prune --store /srv/venvoy --grace 14
      venvoy prune --grace 0 --json
    """
    from distributor.publishing.pruning import prune
    from distributor.publishing.repository import PUBLISH_ROLES, open_repository
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    console = Console(quiet=as_json)
    done = prune(
        open_repository(opened, keys, PUBLISH_ROLES),
        grace=timedelta(days=grace),
        dry_run=dry_run,
        progress=lambda count, total: console.bar("remove", count, total),
    )
    console.done()
    freed = sum(item.size for item in done.removed)
    document = {
        "store": opened.location,
        "dry_run": dry_run,
        "changed": bool(done.removed or done.metadata) and not dry_run,
        "removed": [_entry(item) for item in done.removed],
        "waiting": [_entry(item) for item in done.waiting],
        "metadata": list(done.metadata),
        "freed_bytes": freed,
        "swept": done.swept,
    }
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {item.label} ({size(item.size)})" for item in done.removed]
    lines += [f"unpinned since {item.since:%Y-%m-%d %H:%M} UTC: {item.label}" for item in done.waiting]
    if done.metadata:
        lines.append(f"{verb} {len(done.metadata)} replaced versions of metadata")
    lines.append(f"{'would free' if dry_run else 'freed'} {size(freed)}")
    report(document, lambda: "\n".join(lines), as_json=as_json)


def _entry(item: Leftover) -> dict[str, object]:
    return {
        "artifact": item.label,
        "objects": list(item.objects),
        "size": item.size,
        "unpinned_since": item.since.isoformat(timespec="seconds"),
    }
