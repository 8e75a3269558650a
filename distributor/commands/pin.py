"""``venvoy pin``: say what a release means, and sign it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, keys_option, report, store_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="pin")
@click.argument("release", metavar="RELEASE")
@click.argument("names", metavar="BUILD_DIR|ARTIFACT...", nargs=-1, required=True)
@store_option
@keys_option
@json_option
def command(release: str, names: tuple[str, ...], store: str, keys: Path, *, as_json: bool) -> None:
    """Pin published artifacts as RELEASE: those in a BUILD_DIR, or each ARTIFACT by its name.

    Needs the keys of releases, snapshot and timestamp. A release is pinned once and for all; the same
    pins again change nothing.

    \b
    Examples:
      venvoy pin 2026.1.0 build/
      venvoy pin 2026.1.1 keystone-28.0.0-cp311-linux_x86_64-glibc2.36-0123456789ab
    """
    from distributor.publishing.built_files import named_artifacts
    from distributor.publishing.repository import PIN_ROLES, open_repository
    from distributor.stores.location import open_writable_store

    opened = open_writable_store(store)
    repository = open_repository(opened, keys, PIN_ROLES)
    pinned = repository.pin(release, repository.pins_for(named_artifacts(names)))
    document = {
        "store": opened.location,
        "release": pinned.release,
        "pins": [
            {"service": pin.service, "target": pin.target, "version": pin.version, "manifest": pin.manifest}
            for pin in pinned.pins
        ],
    }
    lines = [f"{pin.service} {pin.version} for {pin.target}" for pin in pinned.pins]
    report(document, lambda: "\n".join([f"release {pinned.release}:", *lines]), as_json=as_json)
