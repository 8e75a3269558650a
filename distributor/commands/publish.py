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
from manifests.errors import InvalidInput


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
    help="Make patches from what this release pins, for hosts that have it. May be repeated. [default: what "
    "the channels pin now; without any, the newest release]",
)
@click.option("--no-patches", is_flag=True, help="Make no patches.")
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
    no_patches: bool,
    as_json: bool,
) -> None:
    """Publish what was built in BUILD_DIR: every artifacts/SERVICE/*.json and its tarball.

    Needs the keys of artifacts, snapshot and timestamp. Published names are never reused; the same
    artifacts again change nothing. Interrupted? Run it again: what was uploaded is not sent twice.

    New artifacts get patches, by which hosts that have the last release fetch only what changed.
    Patches that save nothing, or need more than 256 MB to be applied, are not published.

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
    if no_patches and patch_from:
        raise InvalidInput("--no-patches and --patch-from contradict each other; give one of them")
    opened = open_writable_store(store)
    console = Console(quiet=as_json)
    repository = open_repository(opened, keys, PUBLISH_ROLES)

    def progress(step: str, count: int, total: int) -> None:
        if step == "upload":
            console.moved(step, count, total)
        else:
            console.bar(step, count, total, f"{count} of {total} layers")

    done = publish(
        repository,
        opened,
        find_built(build_dirs),
        patch_from=() if no_patches else patch_from or None,
        jobs=jobs,
        progress=progress,
    )
    console.done()
    warn_of_expiry(repository.trust)
    result = done.result
    document: dict[str, Any] = {
        "store": opened.location,
        "published": list(result.published),
        "unchanged": list(result.unchanged),
        "patches": done.patches,
        "notes": list(done.notes),
    }
    if site:
        document["site"] = update_site(opened, repository.trust, store, console)
    lines = [
        f"published {path}" + (f" ({size(done.patches[path])} of patches)" if path in done.patches else "")
        for path in result.published
    ]
    lines += [f"unchanged {path}" for path in result.unchanged]
    lines += done.notes
    report(document, lambda: "\n".join(lines), as_json=as_json)
