"""``venvoy publish``: bring built artifacts into a store and sign them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distributor.commands.options import (
    jobs_option,
    json_option,
    keys_option,
    report,
    store_option,
    warn_of_expiry,
)
from distributor.commands.site_option import require_site, site_option, update_site
from manifests.console import Console, size


@click.command(name="publish")
@click.argument(
    "build_dirs",
    metavar="BUILD_DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@store_option
@keys_option
@click.option(
    "--patch-from",
    metavar="RELEASE",
    multiple=True,
    help="Make patches from what this release pins, for hosts that have it. May be repeated.",
)
@jobs_option
@site_option
@json_option
def command(
    build_dirs: tuple[Path, ...],
    store: str,
    keys: Path,
    patch_from: tuple[str, ...],
    jobs: int,
    *,
    site: bool,
    as_json: bool,
) -> None:
    """Publish what was built in BUILD_DIR: every artifacts/SERVICE/*.json and its tarball.

    Needs the keys of artifacts, snapshot and timestamp. Published names are never reused; the same
    artifacts again change nothing.

    \b
    Examples:
      venvoy publish build/
      venvoy publish build/ --store file:///srv/venvoy --keys /etc/venvoy/keys
      venvoy publish build/ --patch-from 2026.1.0
    """
    from distributor.publishing.built_files import find_built
    from distributor.publishing.publish import publish
    from distributor.publishing.repository import PUBLISH_ROLES, open_repository
    from distributor.stores.location import open_writable_store

    require_site(wanted=site)
    opened = open_writable_store(store)
    console = Console(quiet=as_json)
    repository = open_repository(opened, keys, PUBLISH_ROLES)
    done = publish(
        repository,
        opened,
        find_built(build_dirs),
        patch_from=patch_from,
        jobs=jobs,
        progress=lambda service, count, total: console.bar(f"patch {service}", count, total),
    )
    console.done()
    warn_of_expiry(repository.trust)
    result = done.result
    document: dict[str, Any] = {
        "store": opened.location,
        "published": list(result.published),
        "unchanged": list(result.unchanged),
        "patches": done.patches,
    }
    if site:
        document["site"] = update_site(opened, repository.trust, store, console)
    lines = [
        f"published {path}" + (f" ({size(done.patches[path])} of patches)" if path in done.patches else "")
        for path in result.published
    ]
    lines += [f"unchanged {path}" for path in result.unchanged]
    report(document, lambda: "\n".join(lines), as_json=as_json)
