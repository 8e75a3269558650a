"""``venvoy export``: a release in one file, for sites without a network."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console, size


@click.command(name="export")
@click.argument("release")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@store_option
@root_option
@state_option
@click.option(
    "--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to make."
)
@click.option(
    "--with-tool",
    is_flag=True,
    help="Add Venvoy's own host part, for hosts that have nothing but tar, sha256sum and python3.",
)
@click.option(
    "--for-hosts",
    is_flag=True,
    help="Carry only the metadata that hosts ask for to install this. A store may need all of it.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
def command(
    release: str,
    services: tuple[str, ...],
    store: str,
    root: Path | None,
    state: Path,
    output: Path,
    *,
    with_tool: bool,
    for_hosts: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write what RELEASE pins (for SERVICE..., or for all) into one bundle, with its signed metadata.

    Everything is verified before it is written. A bundle is a plain tar file; 'venvoy install
    --bundle' reads it in place, 'venvoy import' adds it to a store.

    \b
    Examples:
      venvoy export 2026.1.0 -o 2026.1.0.bundle --store https://repo.example/venvoy
      venvoy export 2026.1.0 keystone nova -o control-plane.bundle --for-hosts
      venvoy export 2026.1.0 -o new-site.bundle --with-tool
    On a bare host, after comparing the bundle's sha256 with what was printed:
      tar -xf new-site.bundle tool artifacts/venvoy-host && sh tool/bootstrap /opt/venvoy
    """
    from distributor.bundles.exporting import export_bundle
    from distributor.places import read_root
    from distributor.stores.location import open_store
    from distributor.system.disk_errors import disk_errors
    from distributor.trust.trust import Trust
    from manifests.errors import Refused

    target = output.absolute()
    if target.exists() and not force:
        raise Refused(f"{target} is there already; --force replaces it")
    opened = open_store(store)
    trust = Trust(opened, state, read_root(root))
    trust.refresh()
    console = Console(quiet=as_json)
    with disk_errors(f"write {target}"):
        done = export_bundle(
            opened,
            trust,
            release,
            services,
            target,
            with_tool=with_tool,
            for_hosts=for_hosts,
            progress=lambda count, total: console.moved("export", count, total),
        )
    console.done()
    document = {
        "bundle": str(target),
        "artifacts": list(done.artifacts),
        "length": done.length,
        "sha256": done.sha256,
    }
    lines = [f"exported {name}" for name in done.artifacts]
    lines += [f"{target}, {size(done.length)}", f"sha256 {done.sha256}"]
    report(document, lambda: "\n".join(lines), as_json=as_json)
