"""``venvoy remove``: a venv, and all that was kept beside it, off this host."""

from __future__ import annotations

from pathlib import Path

import click

from distributor.commands.options import dry_run_option, json_option, report


@click.command(name="remove")
@click.argument("venv", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--link", type=click.Path(file_okay=False, path_type=Path), help="A link to remove if it leads there."
)
@dry_run_option
@json_option
def command(venv: Path, link: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove VENV and the trees that it replaced.

    What the host changed or added below mutable paths stays: configuration and keys are not ours to
    delete. Already gone? It says so.

    \b
    Example:
      venvoy remove /openstack/venvs/keystone-2026.1.0
    """
    from distributor.host.exclusive import as_host_errors
    from distributor.host.removal import remove

    destination = venv.absolute()
    with as_host_errors(destination):
        result = remove(destination, link.absolute() if link else None, dry_run=dry_run)
    document = {
        "changed": result.changed,
        "destination": str(destination),
        "service": result.receipt.service if result.receipt else None,
        "release": result.receipt.release if result.receipt else None,
        "kept": list(result.kept),
        "packages": {"added": {}, "removed": result.packages, "upgraded": {}},
    }
    verb = "would remove" if dry_run else "removed"
    text = f"{verb} {destination}" if result.changed else f"unchanged: nothing is installed in {destination}"
    report(document, lambda: "\n".join([text, *(f"kept {path}" for path in result.kept)]), as_json=as_json)
