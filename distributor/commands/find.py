"""``venvoy find``: which releases, services and hosts hold a package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributor.audit.finding import Held, HeldByHost
    from distributor.audit.hosts import HostVenv


@click.command(name="find")
@click.argument("requirements", metavar="REQUIREMENT...", nargs=-1, required=True)
@click.option("--release", "releases", metavar="RELEASE", multiple=True, help="Only here; may be repeated.")
@click.option(
    "--receipts",
    "places",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="Hosts too: venvs here, or files of 'venvoy status --json' (NAME-OF-HOST.json). May be repeated.",
)
@click.option("--expect-none", is_flag=True, help="Fail (exit 9) if anything holds it.")
@store_option
@root_option
@state_option
@json_option
def command(
    requirements: tuple[str, ...],
    releases: tuple[str, ...],
    places: tuple[Path, ...],
    store: str,
    root: Path | None,
    state: Path,
    *,
    expect_none: bool,
    as_json: bool,
) -> None:
    """Say which releases, services and hosts hold a package: 'requests<2.32', or just 'requests'.

    No package index is asked. Where the store cannot be reached, what this host read of it before is
    searched. Versions that cannot be compared (commits) count as found.

    \b
    Examples:
      venvoy find 'requests<2.32'
      venvoy find 'urllib3<2.5' 'requests<2.32' --receipts /openstack/venvs
      venvoy find 'pyyaml==6.0.2' --receipts collected/ --json
    """
    from distributor.audit.contents import ContentsReader
    from distributor.audit.finding import Finder
    from distributor.audit.hosts import host_venvs
    from distributor.commands.opening import open_trust
    from manifests.console import Console
    from manifests.errors import Refused
    from manifests.searching import read_wanted

    wanted = read_wanted(requirements)
    opened, trust = open_trust(store, root, state, Console(quiet=as_json).line)
    finder = Finder(ContentsReader(opened, trust), wanted)
    all_pins = [trust.pins(name) for name in (releases or trust.releases())]
    held = finder.in_releases(all_pins)
    venvs = host_venvs(places, finder.known)
    by_hosts = finder.in_venvs(venvs)
    unknown = [venv for venv in venvs if venv.contents is None]
    targets: dict[tuple[str, str], int] = {}
    for pins in all_pins:
        for pin in pins.pins:
            targets[pins.release, pin.service] = targets.get((pins.release, pin.service), 0) + 1
    report(
        _document(requirements, held, by_hosts, unknown),
        lambda: _text(held, by_hosts, unknown, targets, len(all_pins)),
        as_json=as_json,
    )
    if expect_none and (held or by_hosts):
        raise Refused(f"{' and '.join(requirements)}: held by {len(held)} artifacts of releases, see above")


def _document(
    requirements: Sequence[str], held: list[Held], hosts: list[HeldByHost], unknown: list[HostVenv]
) -> dict[str, Any]:
    return {
        "requirements": list(requirements),
        "releases": [asdict(item) for item in held],
        "hosts": [{"package": item.package, "version": item.version, **_venv(item.venv)} for item in hosts],
        "unknown": [_venv(venv) for venv in unknown],
    }


def _venv(venv: HostVenv) -> dict[str, str]:
    names = ("host", "path", "service", "release", "target")
    return {name: getattr(venv, name) for name in names}


def _text(
    held: list[Held],
    hosts: list[HeldByHost],
    unknown: list[HostVenv],
    targets: dict[tuple[str, str], int],
    releases: int,
) -> str:
    from distributor.audit.finding_text import held_lines, host_lines

    lines = held_lines(held, targets) or [f"none of {releases} releases holds it"]
    lines += ["", "hosts:", *host_lines(hosts)] if hosts else []
    lines += [
        f"unknown: {venv.host} {venv.path}: {venv.service} of release {venv.release}, not signed here"
        for venv in unknown
    ]
    return "\n".join(lines)
