"""``--site``: what changes a store can bring its pages up to date as well."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import click

from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from manifests.console import Console

SITE_URL = "VENVOY_SITE_STORE_URL"
"""The variable that says how hosts name the store."""

site_option = click.option(
    "--site", is_flag=True, help="Bring the store's pages up to date as well (see 'venvoy site')."
)


def require_site(*, wanted: bool) -> None:
    """Raise InvalidInput, before anything is changed, where pages are *wanted* and cannot be made here."""
    if wanted and importlib.util.find_spec("jinja2") is None:
        raise InvalidInput("--site needs jinja2, which is not installed: pip install 'venvoy[site]'")


def update_site(store: Store, trust: Trust, location: str, console: Console) -> dict[str, object]:
    """Write the pages about *store*, which *location* named, and return what came of it."""
    from distributor.site.building import SITE, build_site

    done = build_site(
        store,
        trust,
        store,
        shown_store=os.environ.get(SITE_URL) or location,
        jobs=os.cpu_count() or 1,
        progress=lambda step, count, total: console.bar(step, count, total, f"{count}/{total}"),
    )
    console.done()
    place = f"{store.location}/{SITE}"
    console.line(f"{place}: {done.written} pages written, {done.unchanged} unchanged, {done.removed} removed")
    return {"place": place, "written": done.written, "unchanged": done.unchanged, "removed": done.removed}
