"""``venvoy cache``: what the build stage keeps, and what of it may go."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.commands.options import cache_option, json_option
from manifests.byte_size import parse_size
from manifests.console import size
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from builder.caching.inventory import Entry

_SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class _Age(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic from click 8.3 on
    """A span of time: a number with m, h, d or w behind it."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,12})([mhdw])", str(value))
        if match is None:
            self.fail(f"{value!r} is not an age; write for instance 30d (m, h, d, w)", param, ctx)
        return int(match[1]) * _SPANS[match[2]]


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic from click 8.3 on
    """A number of bytes for people."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value), what=self.name)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


_cache_option = cache_option("The cache of wheels and layers.")


@click.group("cache")
def command() -> None:
    """Show and clean the cache of wheels, sdists and layers that builds use.

    All of it can be fetched or built again: cleaning costs time at the next build, and nothing else.

    \b
    Examples:
      venvoy cache show
      venvoy cache clean --older-than 30d --max-size 50G --dry-run
      venvoy cache clean --older-than 30d --max-size 50G
    """


@command.command("show")
@_cache_option
@json_option
def show(*, cache: Path, as_json: bool) -> None:
    """Show what the cache holds, how large it is, and when it was used last.

    \b
    Examples:
      venvoy cache show
      venvoy cache show --cache /srv/venvoy/cache --json
    """
    from builder.caching.inventory import KINDS, entries, leftovers
    from builder.caching.usage import count_running

    found = [*entries(cache), *leftovers(cache)]
    running = count_running(cache)
    rows = [_row(kind, [entry for entry in found if entry.kind == kind]) for kind in (*KINDS, "tmp")]
    if as_json:
        document = {"cache": str(cache), "kinds": rows, "running_builds": running}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{cache}, {size(sum(row['size'] for row in rows))}, {running} running builds")
    for row in rows:
        if row["entries"]:
            oldest = time.strftime("%Y-%m-%d", time.localtime(row["least_recently_used"]))
            click.echo(
                f"  {row['kind']:<8} {row['entries']:>7}  {size(row['size']):>10}  oldest use {oldest}"
            )


@command.command("clean")
@_cache_option
@click.option(
    "--older-than",
    "age",
    type=_Age(),
    metavar="AGE",
    help="Remove what was not used for so long: 90m, 12h, 30d, 8w.",
)
@click.option(
    "--max-size",
    type=_Size(),
    metavar="SIZE",
    help="Then remove what was used least recently, until no more than this is left: 500M, 50G.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def clean(*, cache: Path, age: int | None, max_size: int | None, dry_run: bool, as_json: bool) -> None:
    """Remove what was not used for long, or is too much, and what killed builds left.

    Safe beside running builds: what one of them has looked up stays. A shared cache is cleaned on
    any one of its machines.

    \b
    Examples:
      venvoy cache clean --older-than 30d
      venvoy cache clean --max-size 50G --dry-run
    """
    from builder.caching.clean import clean as clean_cache

    if age is None and max_size is None:
        raise click.UsageError("name what may go: --older-than AGE, --max-size SIZE, or both")
    cleaned = clean_cache(cache, age=age, size=max_size, dry_run=dry_run)
    if as_json:
        document = {
            "cache": str(cache),
            "dry_run": dry_run,
            "removed": [
                {"kind": entry.kind, "name": entry.name, "size": entry.size} for entry in cleaned.removed
            ],
            "freed": cleaned.size,
            "kept_for_running_builds": cleaned.kept_for_builds,
        }
        click.echo(json.dumps(document, indent=2))
        return
    what = "would remove" if dry_run else "removed"
    kept = cleaned.kept_for_builds
    more = f"; kept {kept} that running builds use" if kept else ""
    click.echo(f"{what} {len(cleaned.removed)} entries, {size(cleaned.size)}, from {os.fspath(cache)}{more}")


def _row(kind: str, found: list[Entry]) -> dict[str, Any]:
    return {
        "kind": kind,
        "entries": len(found),
        "size": sum(entry.size for entry in found),
        "least_recently_used": min((entry.used for entry in found), default=None),
    }
