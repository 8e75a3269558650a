"""``venvoy verify``: every file of an installed venv against what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report
from manifests.console import Console
from manifests.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from distributor.host.installed_tree import Differences

_SHOWN = 20
_WORDS = (
    ("altered", "altered"),
    ("missing", "missing"),
    ("added", "added"),
    ("modes", "mode changed"),
    ("binding", "binding"),
)


@click.command(name="verify")
@click.argument("venv", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def command(venv: Path, *, as_json: bool) -> int:
    """Read every file of VENV and say what was altered, added or is missing; exit 3 if anything was.

    Files below mutable paths belong to the host: they are counted, not judged.

    \b
    Example:
      venvoy verify /openstack/venvs/keystone-2026.1.0
    """
    from distributor.host.installed_tree import compare
    from distributor.host.staged_tree import binding_of
    from distributor.system.disk_errors import disk_errors
    from manifests.receipt import read_receipt

    receipt = read_receipt(venv)
    if receipt is None:
        raise NotFound(f"{venv} has no receipt of Venvoy: nothing is installed here, or not wholly")
    console = Console(quiet=as_json)
    with disk_errors(f"verify {venv}"):
        result = compare(
            venv, receipt, binding_of(receipt), lambda done, total: console.bar("verify", done, total)
        )
    console.done()
    groups = {name: list(getattr(result, name)) for name, _ in _WORDS}
    document = {
        "venv": str(venv),
        "clean": result.clean,
        "artifact": receipt.identity,
        "mutable": list(result.mutable),
        **groups,
    }
    report(document, lambda: _text(venv, result), as_json=as_json)
    return 0 if result.clean else VerificationFailed.exit_code


def _text(venv: Path, result: Differences) -> str:
    lines = []
    for name, word in _WORDS:
        paths: tuple[str, ...] = getattr(result, name)
        lines += [f"{word}: {path}" for path in paths[:_SHOWN]]
        if len(paths) > _SHOWN:
            lines.append(f"{word}: ... and {len(paths) - _SHOWN} more")
    if result.mutable:
        lines.append(f"{len(result.mutable)} files of mutable paths are the host's own")
    if result.clean:
        lines.append(f"{venv}: every file is as signed")
    else:
        lines.append(f"{venv} is not what was installed: 'venvoy install' with --repair mends it")
    return "\n".join(lines)
