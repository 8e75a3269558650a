"""``venvoy publish``: bring built artifacts into a store and sign them."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.options import json_option, keys_option, report, store_option


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
@json_option
def command(build_dirs: tuple[Path, ...], store: str, keys: Path, *, as_json: bool) -> None:
    """Publish what was built in BUILD_DIR: every artifacts/SERVICE/*.json and its tarball.

    Needs the keys of artifacts, snapshot and timestamp. Published names are never reused; the same
    artifacts again change nothing.

    \b
    Examples:
      venvoy publish build/
      venvoy publish build/ --store file:///srv/venvoy --keys /etc/venvoy/keys
    """
    from distributor.built_files import find_built
    from distributor.repository import PUBLISH_ROLES, open_repository
    from distributor.stores.location import open_store

    opened = open_store(store)
    result = open_repository(opened, keys, PUBLISH_ROLES).publish(find_built(build_dirs))
    document = {
        "store": opened.location,
        "published": list(result.published),
        "unchanged": list(result.unchanged),
    }
    lines = [f"published {path}" for path in result.published]
    lines += [f"unchanged {path}" for path in result.unchanged]
    report(document, lambda: "\n".join(lines), as_json=as_json)
