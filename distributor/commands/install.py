"""``venvoy install``: a service of a release, on this host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.options import json_option, report, root_option, state_option
from manifests.console import Console, size

if TYPE_CHECKING:
    from distributor.install import InstallResult
    from distributor.release_source import ReleaseSource

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
@click.option("--repair", is_flag=True, help="Unpack again what is there already, keeping the host's files.")
@click.option(
    "--non-atomic",
    is_flag=True,
    help="Where the file system cannot exchange directories: replace by two renames, with a gap between.",
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
    repair: bool,
    non_atomic: bool,
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
        atomic=not non_atomic,
        repair=repair,
        evidence=state / "failed-checks",
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

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != self._name:
            self._name = step
            self._console.line(f"{step} ...")
        if total:
            self._console.bar(step, done, total, f"{size(done)} of {size(total)}")


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
        "replaced": str(result.replaced) if result.replaced else None,
        "kept": list(result.kept),
        "aside": list(result.aside),
        "local_changes": list(result.local_changes),
        "restart_pids": list(result.restart_pids),
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
    lines = [f"installed: {what} in {result.destination}, {fetched} verified in {seconds:.1f} s{moved}"]
    if result.replaced:
        lines.append(f"the tree before it lies in {result.replaced} until 'venvoy gc'")
    lines += [f"kept {path}" for path in result.kept]
    lines += [f"see {path}" for path in result.aside]
    lines += [f"not carried over: {path}" for path in result.local_changes]
    if result.restart_pids:
        lines.append(f"restart: {', '.join(map(str, result.restart_pids))} still run from the replaced tree")
    return "\n".join(lines)
