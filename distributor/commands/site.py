"""``venvoy site``: pages about a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option

if TYPE_CHECKING:
    pass


@click.command(name="site")
@store_option
@root_option
@state_option
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this folder instead of 'site/' in the store.",
)
@click.option(
    "--url",
    envvar="VENVOY_SITE_STORE_URL",
    metavar="LOCATION",
    help="How hosts name the store, for commands on the pages. [default: as given here]",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 64),
    default=lambda: os.cpu_count() or 1,
    help="Worker processes. [default: one a core]",
)
@json_option
def command(
    store: str,
    root: Path | None,
    state: Path,
    output: Path | None,
    url: str | None,
    jobs: int,
    *,
    as_json: bool,
) -> None:
    """Write static pages about a store: releases, services, artifacts, packages, sizes, differences.

    They work from any web server and from files, need nothing from other hosts, and go into the store
    itself, below site/. Needs no keys: the pages are not signed. Only what changed is written.
    'publish', 'pin' and 'promote' do the same with --site.

    \b
    Examples:
      venvoy site --store /srv/venvoy --url https://repo.example/venvoy
      venvoy site --store https://repo.example/venvoy --output public/
    """
    from distributor.commands.opening import open_trust
    from distributor.site.building import SITE, build_site
    from distributor.stores.directory import DirectoryStore
    from distributor.stores.location import open_writable_store
    from manifests.console import Console

    console = Console(quiet=as_json)
    opened, trust = open_trust(store, root, state)
    done = build_site(
        opened,
        trust,
        open_writable_store(store) if output is None else DirectoryStore(output),
        prefix=SITE if output is None else "",
        shown_store=url or store,
        payload="../" if output is None else "",
        jobs=jobs,
        progress=lambda step, count, total: console.bar(step, count, total, f"{count}/{total}"),
    )
    console.done()
    place = str(output) if output is not None else f"{opened.location}/{SITE}"
    report(
        {"site": place, "written": done.written, "unchanged": done.unchanged, "removed": done.removed},
        lambda: f"{place}: {done.written} pages written, {done.unchanged} unchanged, {done.removed} removed",
        as_json=as_json,
    )
