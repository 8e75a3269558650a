"""``venvoy fetch``: bring what an install will need onto this host, ahead of time."""

from __future__ import annotations

import time
from pathlib import Path

import click

from distributor.commands.opening import StepProgress, StoreOptions, open_wanted
from distributor.commands.options import (
    allow_expired_option,
    bundle_option,
    cache_option,
    channel_option,
    host_store_option,
    jobs_option,
    json_option,
    limit_rate_option,
    python_option,
    release_option,
    report,
    root_option,
    state_option,
    target_option,
)
from manifests.console import Console, size


@click.command(name="fetch")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@release_option
@channel_option
@host_store_option
@bundle_option
@root_option
@state_option
@cache_option
@click.option(
    "--dest",
    "beside",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/openstack/venvs/SERVICE"),
    show_default=True,
    help="Where the venv will stand; patches are applied to what stands there, or beside it.",
)
@python_option
@target_option
@jobs_option
@limit_rate_option
@allow_expired_option
@json_option
def command(
    services: tuple[str, ...],
    release: str | None,
    channel: str | None,
    stores: tuple[str, ...],
    bundle: Path | None,
    root: Path | None,
    state: Path,
    cache: Path | None,
    beside: Path,
    python: Path | None,
    target: str | None,
    jobs: int,
    limit_rate: int | None,
    allow_expired: str | None,
    *,
    as_json: bool,
) -> None:
    """Verify and fetch all layers of SERVICE... that this host lacks. Nothing is switched.

    A later 'venvoy install' of the same release then needs no network: it takes seconds, and works
    while the store is down. Interrupted? Run it again; what came stays.

    \b
    Examples:
      venvoy fetch keystone nova --release 2026.1.0 --store https://repo.example/venvoy
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone \\
          --store https://repo.example/venvoy
    """
    from distributor.host.exclusive import as_host_errors
    from distributor.host.fetching import fetch
    from manifests.naming import service_name

    console = Console(quiet=as_json)
    options = StoreOptions(
        stores=stores,
        bundle=bundle,
        root=root,
        state=state,
        limit_rate=limit_rate,
        allow_expired=allow_expired,
    )
    place = (cache or state / "cache").absolute()
    started = time.monotonic()
    results = []
    with as_host_errors(place):
        wanted, open_source = open_wanted(options, release, channel)
        source = open_source()
        for service in services:
            results.append(
                fetch(
                    service_name(service),
                    wanted,
                    source,
                    place,
                    target=target,
                    python=python,
                    beside=beside,
                    jobs=jobs,
                    report=StepProgress(console),
                )
            )
    console.done()
    seconds = time.monotonic() - started
    document = {
        "release": wanted,
        "cache": str(place),
        "notes": list(source.notes),
        "artifacts": [
            {
                "service": result.artifact.service,
                "version": result.artifact.version,
                "artifact": result.artifact.identity,
                "length": result.artifact.length,
                "fetched_bytes": result.fetched,
            }
            for result in results
        ],
    }
    lines = [
        f"ready: {result.artifact.service} {result.artifact.version} (release {wanted}), "
        f"{size(result.fetched)} of {size(result.artifact.length)} fetched"
        for result in results
    ]
    lines.append(f"in {place}, {seconds:.1f} s")
    report(document, lambda: "\n".join([*lines, *source.notes]), as_json=as_json)
