"""``venvoy promote``: move a channel to a release."""

from __future__ import annotations

import os
import socket
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
    from distributor.publishing.promotion import Difference, Promotion


@click.command(name="promote")
@click.argument("release", metavar="RELEASE")
@click.argument("channel", metavar="CHANNEL")
@click.option("--why", required=True, metavar="TEXT", help="The reason, for the history.")
@click.option("--who", metavar="NAME", help="Who decided it. [default: this user on this machine]")
@store_option
@keys_option
@propose_option
@dry_run_option
@site_option
@json_option
def command(
    release: str,
    channel: str,
    why: str,
    who: str | None,
    store: str,
    keys: Path,
    propose: Path | None,
    *,
    dry_run: bool,
    site: bool,
    as_json: bool,
) -> None:
    """Make CHANNEL (candidate, stable, any name) mean RELEASE: for hosts that install by channel.

    Signed, and recorded with who, when and why. Going back is a promote like any other; where a release
    in between has a rollback barrier, it says so: databases do not go back. Needs the keys of releases,
    snapshot and timestamp; --dry-run needs none. With --propose the key of releases is enough, and the
    store is only read: 'venvoy forward' brings it there.

    \b
    Examples:
      venvoy promote 2026.1.1 candidate --why "passed the gate, build 4711"
      venvoy promote 2026.1.1 stable --why "two weeks as candidate" --dry-run
      venvoy promote 2026.1.0 stable --why "back: incident 815"
    """
    from distributor.publishing.promotion import promote

    require_site(wanted=site)
    managed = open_managed(store, keys, propose=propose, dry_run=dry_run, site=site)
    repository = managed.repository
    done = promote(repository, channel, release, who=who or _user(), why=why, dry_run=dry_run)
    managed.finish()
    warn_of_expiry(repository.trust)
    move = done.move
    document: dict[str, Any] = {
        "store": managed.location,
        "channel": move.channel,
        "release": move.release,
        "came_from": move.came_from,
        "number": move.number,
        "back": move.back,
        "who": move.who,
        "when": move.when,
        "why": move.why,
        "changed": done.changed,
        "dry_run": dry_run,
        "differences": [_plain(item) for item in done.differences],
        "barriers": [
            {"service": service, "release": name, "barrier": words} for service, name, words in done.barriers
        ],
    }
    if site and not dry_run:
        document["site"] = update_site(managed.store, repository.trust, store, Console(quiet=as_json))
    report(document, lambda: _text(done, dry_run=dry_run), as_json=as_json)


def _user() -> str:
    user = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _plain(item: Difference) -> dict[str, str | None]:
    return {
        "service": item.service,
        "target": item.target,
        "before": item.before.manifest if item.before else None,
        "after": item.after.manifest if item.after else None,
    }


def _text(done: Promotion, *, dry_run: bool) -> str:
    move = done.move
    if not done.changed:
        return f"unchanged: {move.channel} means {move.release} already"
    verb = "would go" if dry_run else "went"
    way = f"{'back ' if move.back else ''}from {move.came_from} to" if move.came_from else "to"
    lines = [f"{move.channel} {verb} {way} {move.release}"]
    lines += [_line(item) for item in done.differences]
    for service, release, words in done.barriers:
        lines.append(
            f"warning: {service} of {release} has a rollback barrier: {words}. Databases do not go back with "
            "the software; hosts ask for --force"
        )
    return "\n".join(lines)


def _line(item: Difference) -> str:
    before = item.before.version if item.before else "nothing"
    after = item.after.version if item.after else "nothing"
    rebuilt = ", built anew" if before == after else ""
    return f"  {item.service} for {item.target}: {before} -> {after}{rebuilt}"
