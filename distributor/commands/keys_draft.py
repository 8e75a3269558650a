"""``venvoy keys draft``: write down a change of keys, for its keyholders to sign."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option

if TYPE_CHECKING:
    from distributor.publishing.key_change import KeyChange


class _Pair(click.ParamType[tuple[str, str]]):
    name = "role=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        role, equals, rest = str(value).partition("=")
        if not equals or not rest:
            self.fail(f"{value!r} is not ROLE=VALUE", param, ctx)
        return role, rest


@click.command(name="draft")
@click.option("--add", type=_Pair(), multiple=True, metavar="ROLE=FILE", help="This public key comes.")
@click.option(
    "--remove", type=_Pair(), multiple=True, metavar="ROLE=KEYID", help="This key no longer counts."
)
@click.option("--threshold", type=_Pair(), multiple=True, metavar="ROLE=N", help="So many must sign.")
@click.option("--renew", type=click.Choice(["root", "targets"]), multiple=True, help="Start a new term.")
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path))
@store_option
@root_option
@state_option
@json_option
def command(
    add: tuple[tuple[str, str], ...],
    remove: tuple[tuple[str, str], ...],
    threshold: tuple[tuple[str, str], ...],
    renew: tuple[str, ...],
    output: Path,
    store: str,
    root: Path | None,
    state: Path,
    *,
    as_json: bool,
) -> None:
    """Write a change of keys into a file. Needs no key; nothing counts until it is signed and applied.

    A KEYID may be shortened. The role artifacts.SERVICE is made by adding a key to it: from then on that
    service's artifacts are signed by that key alone.

    \b
    Examples:
      venvoy keys draft --add releases=ada.pub.json --remove releases=1f0c93 -o change.json
      venvoy keys draft --add root=bob.pub.json --add root=eve.pub.json --threshold root=2 -o change.json
      venvoy keys draft --renew root --renew targets -o change.json
      venvoy keys draft --add artifacts.nova=nova.pub.json -o change.json
    """
    from distributor.commands.opening import open_trust
    from distributor.publishing.key_drafting import Edits, draft
    from distributor.publishing.key_making import check_role, read_public
    from distributor.stores.location import open_writable_store
    from distributor.system.disk_errors import disk_errors
    from manifests.atomic_file import write_atomically

    edits = Edits(
        add=tuple((check_role(role), read_public(Path(file))) for role, file in add),
        remove=tuple((check_role(role), keyid) for role, keyid in remove),
        thresholds={check_role(role): _number(text) for role, text in threshold},
        renew=frozenset(renew),
    )
    _, trust = open_trust(store, root, state)
    change = draft(open_writable_store(store), trust, edits, datetime.now(timezone.utc))
    with disk_errors(f"write {output}"):
        write_atomically(output.absolute(), change.to_json())
    report(change_document(change, output), lambda: change_text(change, output), as_json=as_json)


def change_document(change: KeyChange, path: Path) -> dict[str, Any]:
    """Return what is to be said of *change* as JSON."""
    from distributor.publishing.key_drafting import describe

    return {"change": str(path), "changes": describe(change), "lacking": change.lacking()}


def change_text(change: KeyChange, path: Path) -> str:
    """Return what is to be said of *change* to people."""
    from distributor.publishing.key_drafting import describe

    lacking = [f"  lacks {item}" for item in change.lacking()] or ["  signed by all who must: apply it"]
    return "\n".join([*describe(change), f"{path}:", *lacking])


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise click.UsageError(f"--threshold: {text!r} is no number")
    return int(text)
