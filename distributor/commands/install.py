"""``venvoy install``: a service of a release, on this host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.options import json_option, report, root_option, state_option
from manifests.console import Console, size

if TYPE_CHECKING:
    from distributor.install import InstallResult, ReleaseSource, Stage

_ABSOLUTE = click.Path(file_okay=False, path_type=Path)


@click.command(name="install")
@click.argument("service")
@click.option("--release", required=True, help="The release that pins the artifact.")
@click.option("--dest", required=True, type=_ABSOLUTE, help="Where the venv shall stand.")
@click.option("--link", type=_ABSOLUTE, help="A symbolic link to flip to the venv when it is complete.")
@click.option(
    "--store",
    envvar="VENVOY_STORE",
    metavar="LOCATION",
    help="The artifact store. Not asked when the venv is there already. Also VENVOY_STORE.",
)
@root_option
@state_option
@click.option("--python", type=click.Path(dir_okay=False, path_type=Path), help="The interpreter to bind to.")
@click.option("--target", metavar="TARGET", help="Which target's artifact, where a release pins several.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes."
)
@json_option
def command(
    service: str,
    release: str,
    dest: Path,
    link: Path | None,
    store: str | None,
    root: Path | None,
    state: Path,
    python: Path | None,
    target: str | None,
    jobs: int,
    *,
    as_json: bool,
) -> None:
    """Install SERVICE as RELEASE pins it, whole or not at all.

    The artifact is verified against signed metadata, unpacked beside the destination, bound to this
    host's interpreter and renamed into place. Interrupted? Run the same command again. Already
    there? It says "unchanged" and reads nothing from the store.

    \b
    Examples:
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone-2026.1.0
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone-2026.1.0 \\
          --link /openstack/venvs/keystone --store /srv/venvoy --root /etc/venvoy/root.json
    """
    from distributor.install import InstallRequest, install
    from manifests.naming import release_name, service_name

    request = InstallRequest(
        service=service_name(service),
        release=release_name(release),
        destination=dest.absolute(),
        link=link.absolute() if link else None,
        python=python,
        target=target,
        jobs=jobs,
    )
    console = Console(quiet=as_json)
    started = time.monotonic()
    result = install(request, lambda: _open(store, root, state), _Progress(console))
    console.done()
    seconds = time.monotonic() - started
    report(_document(result), lambda: _text(result, seconds), as_json=as_json)


def _open(store: str | None, root: Path | None, state: Path) -> ReleaseSource:
    from distributor.places import read_root
    from distributor.release_source import StoreReleases
    from distributor.stores.location import open_store

    if store is None:
        raise click.UsageError("name the artifact store: --store LOCATION, or VENVOY_STORE")
    return StoreReleases(open_store(store), state, read_root(root))


class _Progress:
    """Turns the stages of an install into a bar or, off a terminal, into a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = ""

    def __call__(self, stage: Stage) -> None:
        if stage.name != self._name:
            self._name = stage.name
            self._console.line(f"{stage.name} ...")
        if stage.total:
            note = f"{size(stage.done)} of {size(stage.total)}"
            self._console.bar(stage.name, stage.done, stage.total, note)


def _document(result: InstallResult) -> dict[str, object]:
    receipt = result.receipt
    return {
        "changed": result.changed,
        "service": receipt.service,
        "release": receipt.release,
        "version": receipt.version,
        "target": receipt.target,
        "artifact": receipt.identity,
        "python": receipt.python,
        "destination": str(result.destination),
        "real_path": str(result.real_path),
        "link_flipped": result.link_flipped,
        "fetched_bytes": result.fetched_bytes,
    }


def _text(result: InstallResult, seconds: float) -> str:
    receipt = result.receipt
    what = f"{receipt.service} {receipt.version} (release {receipt.release}, {receipt.identity[:12]})"
    if not result.changed:
        return f"unchanged: {what} in {result.destination}"
    moved = "; link moved" if result.link_flipped else ""
    if result.fetched_bytes == 0:
        return f"kept the files, noted the release: {what} in {result.destination}{moved}"
    fetched = size(result.fetched_bytes)
    return f"installed: {what} in {result.destination}, {fetched} verified in {seconds:.1f} s{moved}"
