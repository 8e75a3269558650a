"""``venvoy lock``: resolve a release spec into locks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from manifests.errors import InvalidInput
from manifests.target import Target

if TYPE_CHECKING:
    from builder.resolving.locking import LockResult

_SHOWN_CHANGES = 5


@click.command("lock")
@click.argument("spec", type=click.Path(path_type=Path), default=Path("release.toml"))
@click.option(
    "--service",
    "-s",
    "services",
    multiple=True,
    metavar="NAME",
    help="Lock this service only; may be repeated.",
)
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Lock for this target instead of those in the spec; may be repeated.",
)
@click.option(
    "--upgrade", is_flag=True, help="Ignore the versions in existing locks and take the newest that fit."
)
@click.option("--offline", is_flag=True, help="Use uv's cache and no network.")
@click.option(
    "--lock-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the locks lie.  [default: locks, beside the spec]",
)
@click.option("--dry-run", is_flag=True, help="Resolve and report, but write no lock.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    spec: Path,
    services: tuple[str, ...],
    targets: tuple[str, ...],
    upgrade: bool,
    offline: bool,
    lock_dir: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Resolve SPEC (default: release.toml) into one lock for each service and target.

    Locks are PEP 751 files for git: what a release is made of, to the byte. Nothing is resolved
    after this. Existing versions are kept while they fit; --upgrade looks for newer ones.

    Packages come from PyPI, or from the index that UV_DEFAULT_INDEX and UV_INDEX name; uv's
    configuration files are not read.

    \b
    Examples:
      venvoy lock
      venvoy lock release.toml -s keystone -s nova
      venvoy lock -t cp312-linux_x86_64-glibc2.39
      venvoy lock --upgrade --dry-run
    """
    from builder.jobs import chosen_jobs
    from builder.resolving.locking import LockOptions, lock_release
    from manifests.release_spec import read_release_spec

    release = read_release_spec(spec)
    jobs = chosen_jobs(release, services, [Target.parse(target) for target in targets])
    if not jobs:
        raise InvalidInput(f"{spec}: nothing to lock")
    results = lock_release(
        release,
        LockOptions(directory=lock_dir, upgrade=upgrade, offline=offline, dry_run=dry_run),
        jobs,
        progress=lambda message: click.echo(message, err=True),
    )
    if as_json:
        document = {"release": release.release, "locks": [_value(result, dry_run) for result in results]}
        click.echo(json.dumps(document, indent=2))
    else:
        for result in results:
            click.echo(_line(result, dry_run))


def _status(result: LockResult, dry_run: bool) -> str:
    if not result.written:
        return "unchanged"
    return "would be written" if dry_run else "written"


def _line(result: LockResult, dry_run: bool) -> str:
    changes = [str(change) for change in result.changes[:_SHOWN_CHANGES]]
    if (more := len(result.changes) - len(changes)) > 0:
        changes.append(f"and {more} more")
    detail = f": {', '.join(changes)}" if changes else ""
    return f"{result.path}: {_status(result, dry_run)}, {result.packages} packages{detail}"


def _value(result: LockResult, dry_run: bool) -> dict[str, Any]:
    return {
        "service": result.service,
        "target": str(result.target),
        "path": str(result.path),
        "status": _status(result, dry_run).replace("would be ", "would-be-"),
        "packages": result.packages,
        "changes": [{"name": item.name, "old": item.old, "new": item.new} for item in result.changes],
    }
