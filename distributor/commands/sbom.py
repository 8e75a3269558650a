"""``venvoy sbom``: what an artifact is made of, and how it came to be."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from distributor.commands.options import (
    json_option,
    root_option,
    state_option,
    store_option,
    target_option,
)


@click.command(name="sbom")
@click.argument("name", metavar="ARTIFACT|SERVICE")
@click.option("--release", metavar="RELEASE", help="Take what this release pins for SERVICE.")
@target_option
@click.option("--provenance", is_flag=True, help="Print how it came to be instead (in-toto, SLSA).")
@click.option("--envelope", is_flag=True, help="With --provenance: in its signed envelope (DSSE).")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file."
)
@store_option
@root_option
@state_option
@json_option
def command(  # the document is JSON with and without --json
    name: str,
    release: str | None,
    target: str | None,
    store: str,
    root: Path | None,
    state: Path,
    output: Path | None,
    *,
    provenance: bool,
    envelope: bool,
    as_json: bool,
) -> None:
    """Print the bill of materials (CycloneDX) of an artifact, verified: packages, licences, hashes.

    ARTIFACT is its label, SERVICE what --release pins. --provenance prints which inputs, builder and tools
    made it, and when.

    \b
    Examples:
      venvoy sbom keystone --release 2026.1.0 -o keystone.cdx.json
      venvoy sbom keystone-29.0.2-cp311-linux_x86_64-glibc2.36-0123456789ab
      venvoy sbom keystone --release 2026.1.0 --provenance
    """
    from distributor.audit.attached import read_envelope, read_provenance, read_sbom_document
    from distributor.audit.references import find_artifact, pinned_artifact
    from distributor.commands.opening import open_trust
    from distributor.system.disk_errors import disk_errors
    from manifests.atomic_file import write_atomically
    from manifests.errors import InvalidInput

    if envelope and not provenance:
        raise InvalidInput("--envelope goes with --provenance: bills of materials have none")
    if target is not None and release is None:
        raise InvalidInput("--target goes with --release: an artifact is for one target anyway")
    _, trust = open_trust(store, root, state)
    artifact = (
        find_artifact(trust, name) if release is None else pinned_artifact(trust, name, release, target)
    )
    read = (read_envelope if envelope else read_provenance) if provenance else read_sbom_document
    data = read(trust, artifact)
    if output is None:
        sys.stdout.write(data.decode("utf-8"))
        return
    with disk_errors(f"write {output}"):
        write_atomically(output.absolute(), data)
    click.echo(f'{{"written": "{artifact.stem}"}}' if as_json else f"{output}: {artifact.stem}")
