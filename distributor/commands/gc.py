"""``venvoy gc``: remove replaced trees."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import ByteCount, cache_option, json_option, report, state_option
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
@click.option(
    "--cache-size",
    type=ByteCount(),
    metavar="SIZE",
    help="Keep at most so much of the layers fetched, such as 500M; 0 keeps none.",
)
@cache_option
@state_option
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@json_option
def command(
    places: tuple[Path, ...],
    keep: int,
    cache_size: int | None,
    cache: Path | None,
    state: Path,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove the replaced trees of the venvs at PLACE (default: /openstack/venvs) that nobody needs.

    Active trees always stay, and so does what 'venvoy hold' holds and what a process has mapped,
    opened, entered or was started from. Nothing but trees that Venvoy itself put aside, and what its
    interrupted runs left, is ever removed. A venv that fails is named, and the others are treated.

    \b
    Examples:
      venvoy gc --dry-run
      venvoy gc /openstack/venvs --keep 2 --cache-size 500M
    """
    from distributor.host.cache_cleaning import clean_cache
    from distributor.host.retention import collect
    from distributor.system.disk_errors import disk_errors

    with disk_errors("look at the venvs"):
        found = collect(places or (Path("/openstack/venvs"),), keep=keep, dry_run=dry_run)
        cached = 0
        if cache_size is not None:
            cached = clean_cache(cache or state / "cache", cache_size, dry_run=dry_run)
    freed = sum(item.size for item in found.decisions if item.removed) + cached
    document = {
        "dry_run": dry_run,
        "freed_bytes": freed,
        "freed_cache_bytes": cached,
        "trees": [
            {
                "path": str(item.path),
                "release": item.release,
                "removed": item.removed,
                "why": item.why,
                "size": item.size,
            }
            for item in found.decisions
        ],
        "failed": [{"path": str(item.path), "error": str(item.error)} for item in found.failures],
    }
    verb = "would remove" if dry_run else "removed"
    lines = [
        f"{verb if item.removed else 'kept'} {item.path} (release {item.release or 'none'}, "
        f"{size(item.size)}): {item.why}"
        for item in found.decisions
    ]
    lines.append(f"{'would free' if dry_run else 'freed'} {size(freed)}")
    report(document, lambda: "\n".join(lines), as_json=as_json)
    for failure in found.failures:
        click.echo(f"venvoy: {failure.error}", err=True)
    return found.failures[0].error.exit_code if found.failures else 0
