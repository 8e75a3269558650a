"""``venvoy pin``: say what a release means, and sign it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distributor.commands.managing import open_managed, propose_option
from distributor.commands.options import (
    dry_run_option,
    json_option,
    keys_option,
    report,
    store_option,
    warn_of_expiry,
)
from distributor.commands.site_option import require_site, site_option, update_site
from manifests.console import Console

if TYPE_CHECKING:
    from distributor.publishing.completeness import Place
    from manifests.pins import Pin, ReleasePins

_SPEC = Path("release.toml")


@click.command(name="pin")
@click.argument("release", metavar="RELEASE")
@click.argument("names", metavar="[BUILD_DIR|ARTIFACT]...", nargs=-1)
@store_option
@keys_option
@click.option("--from", "base", metavar="RELEASE", help="Take over from this release what is not named here.")
@click.option(
    "--spec",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The release spec that says which services and targets must be there. "
    "[default: release.toml, if it is of RELEASE]",
)
@click.option("--partial", is_flag=True, help="Pin it although services or targets lack.")
@propose_option
@dry_run_option
@site_option
@json_option
def command(
    release: str,
    names: tuple[str, ...],
    store: str,
    keys: Path,
    base: str | None,
    spec: Path | None,
    propose: Path | None,
    *,
    partial: bool,
    dry_run: bool,
    site: bool,
    as_json: bool,
) -> None:
    """Pin published artifacts as RELEASE: those in a BUILD_DIR, or each ARTIFACT by its name.

    All services and targets of the spec must be there; without a spec, all services on all targets that
    one of them has. Needs the keys of releases, snapshot and timestamp. A release is pinned once and for
    all; the same pins again change nothing. With --propose the key of releases is enough, and the store is
    only read: 'venvoy forward' brings it there.

    \b
    Examples:
      venvoy pin 2026.1.0 build/
      venvoy pin 2026.1.1 build/ --from 2026.1.0 --dry-run
      venvoy pin 2026.1.1 keystone-28.0.0-cp311-linux_x86_64-glibc2.36-0123456789ab --partial
      venvoy pin 2026.1.0 build/ --store https://builds.example/store --propose 2026.1.0.json
    """
    from distributor.publishing.built_files import named_artifacts
    from distributor.publishing.completeness import check_complete, combined
    from manifests.naming import release_name

    release_name(release)
    require_site(wanted=site)
    managed = open_managed(store, keys, propose=propose, dry_run=dry_run, site=site)
    repository = managed.repository
    pins = repository.pins_for(named_artifacts(names))
    if base is not None:
        pins = combined(repository.trust.pins(base).pins, pins)
    if not partial:
        wanted, source = _wanted(release, pins, spec)
        check_complete(release, pins, wanted, source=source)
    pinned = repository.pin(release, pins, dry_run=dry_run)
    managed.finish()
    warn_of_expiry(repository.trust)
    document: dict[str, Any] = {
        "store": managed.location,
        "release": pinned.release,
        "dry_run": dry_run,
        "pins": [
            {"service": pin.service, "target": pin.target, "version": pin.version, "manifest": pin.manifest}
            for pin in pinned.pins
        ],
    }
    if site and not dry_run:
        document["site"] = update_site(managed.store, repository.trust, store, Console(quiet=as_json))
    report(document, lambda: _text(pinned, dry_run=dry_run), as_json=as_json)


def _wanted(release: str, pins: list[Pin], spec: Path | None) -> tuple[set[Place], str]:
    """Return what the release must have, and who says so."""
    from distributor.publishing.completeness import all_places, places_of
    from manifests.release_spec import read_release_spec

    if spec is None and _SPEC.is_file():
        found = read_release_spec(_SPEC)
        if found.release == release:
            return places_of(found), str(_SPEC)
    if spec is not None:
        return places_of(read_release_spec(spec)), str(spec)
    return all_places(pins), "its own matrix of services and targets"


def _text(pinned: ReleasePins, *, dry_run: bool) -> str:
    lines = [f"{pin.service} {pin.version} for {pin.target}" for pin in pinned.pins]
    return "\n".join([f"release {pinned.release}{' would be' if dry_run else ''}:", *lines])
