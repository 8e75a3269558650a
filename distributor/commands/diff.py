"""``venvoy diff``: what differs between releases, artifacts, builds and hosts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, root_option, state_option

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust


@click.command(name="diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option(
    "--service", "-s", "services", multiple=True, metavar="NAME", help="This service only; may be repeated."
)
@click.option("--target", "-t", "targets", multiple=True, metavar="TARGET", help="This target only.")
@click.option("--files", is_flag=True, help="List the files too that differ; reads the layers that do.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="Markdown is for release notes.",
)
@click.option(
    "--store",
    envvar="VENVOY_STORE",
    metavar="LOCATION",
    help="The artifact store; not needed where both lie here. Also VENVOY_STORE.",
)
@root_option
@state_option
@json_option
def command(
    old: str,
    new: str,
    services: tuple[str, ...],
    targets: tuple[str, ...],
    store: str | None,
    root: Path | None,
    state: Path,
    form: str,
    *,
    files: bool,
    as_json: bool,
) -> None:
    """Show how B differs from A: services, packages, versions, licences, sizes; with --files, files.

    A and B are releases or channels of the store, labels of artifacts, or paths: a built manifest, a folder
    of a build, a venv, a folder of venvs. Against a host, only the services that it has are compared.

    \b
    Examples:
      venvoy diff 2026.1.0 2026.1.1
      venvoy diff 2026.1.0 2026.1.1 --format markdown > notes.md
      venvoy diff 2026.1.1 /openstack/venvs
      venvoy diff build-old/ build/ --service keystone --files
    """
    import json

    from distributor.audit.sides import filtered, narrowed, open_side
    from manifests.comparison import compare
    from manifests.comparison_text import comparison_markdown, comparison_text
    from manifests.comparison_value import comparison_value
    from manifests.console import Console

    console = Console(quiet=as_json or form == "json")

    @functools.cache
    def opened() -> tuple[ReadStore, Trust]:
        from distributor.commands.opening import open_trust

        return open_trust(store or "", root, state, console.line)

    sides = [open_side(name, opened) for name in (old, new)]
    one, two = (filtered(narrowed(side, other), services, targets) for side, other in (sides, sides[::-1]))
    comparison = compare(
        one, two, files=files, progress=lambda done, total, name: console.bar("compare", done, total, name)
    )
    console.done()
    if as_json or form == "json":
        click.echo(json.dumps(comparison_value(comparison), indent=2, sort_keys=True))
    else:
        click.echo(comparison_markdown(comparison) if form == "markdown" else comparison_text(comparison))
