"""``venvoy verify``: every file of an installed venv against what was signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distributor.commands.opening import StepProgress, StoreOptions, open_releases
from distributor.commands.options import (
    allow_expired_option,
    bundle_option,
    cache_option,
    host_store_option,
    jobs_option,
    json_option,
    limit_rate_option,
    report,
    root_option,
    state_option,
)
from manifests.console import Console
from manifests.errors import NotFound, Refused, VerificationFailed

if TYPE_CHECKING:
    from distributor.host.installed_tree import Differences
    from distributor.host.request import InstallResult
    from manifests.receipt import Receipt

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
@click.option(
    "--repair",
    is_flag=True,
    help="Where something differs, install the release anew, keeping the host's files.",
)
@host_store_option
@bundle_option
@root_option
@state_option
@cache_option
@jobs_option
@limit_rate_option
@allow_expired_option
@json_option
def command(
    venv: Path,
    stores: tuple[str, ...],
    bundle: Path | None,
    root: Path | None,
    state: Path,
    cache: Path | None,
    jobs: int,
    limit_rate: int | None,
    allow_expired: str | None,
    *,
    repair: bool,
    as_json: bool,
) -> int:
    """Read every file of VENV and say what was altered, added or is missing; exit 3 if anything was.

    Files below mutable paths belong to the host: they are counted, not judged. The store and its options
    are asked for by --repair alone; what this host's cache holds is not fetched.

    \b
    Examples:
      venvoy verify /openstack/venvs/keystone-2026.1.0
      venvoy verify /openstack/venvs/keystone-2026.1.0 --repair --store https://repo.example/venvoy
    """
    from manifests.receipt import read_receipt

    receipt = read_receipt(venv)
    if receipt is None:
        raise NotFound(f"{venv} has no receipt of Venvoy: nothing is installed here, or not wholly")
    console = Console(quiet=as_json)
    found = _look(venv, receipt, console, tolerate_damage=repair)
    if not repair or (found.differences is not None and found.differences.clean):
        report(_document(venv, receipt, found), lambda: _text(venv, found), as_json=as_json)
        return 0 if found.clean else VerificationFailed.exit_code
    for line in _lines(found):
        console.line(line)
    options = StoreOptions(
        stores=stores,
        bundle=bundle,
        root=root,
        state=state,
        limit_rate=limit_rate,
        allow_expired=allow_expired,
    )
    result = _repair(venv, receipt, options, cache or state / "cache", jobs, console)
    after = _look(result.destination, result.receipt, console)
    document = _document(venv, result.receipt, after) | {
        "repaired": _groups(found),
        "replaced": str(result.replaced) if result.replaced else None,
        "local_changes": list(result.local_changes),
        "restart_pids": list(result.restart_pids),
        "notes": list(result.notes),
    }
    report(document, lambda: _repaired_text(venv, after, result), as_json=as_json)
    return 0 if after.clean else VerificationFailed.exit_code


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a look found: the differences, or why the tree's own records could not tell them."""

    differences: Differences | None
    damage: str = ""

    @property
    def clean(self) -> bool:
        return self.differences is not None and self.differences.clean


def _look(venv: Path, receipt: Receipt, console: Console, *, tolerate_damage: bool = False) -> _Found:
    from distributor.host.installed_tree import compare
    from distributor.host.staged_tree import binding_of
    from distributor.system.disk_errors import disk_errors

    try:
        with disk_errors(f"verify {venv}"):
            found = compare(
                venv, receipt, binding_of(receipt), lambda done, total: console.bar("verify", done, total)
            )
    except (NotFound, VerificationFailed) as error:
        if not tolerate_damage:
            raise
        return _Found(differences=None, damage=str(error))
    finally:
        console.done()
    return _Found(differences=found)


def _repair(
    venv: Path, receipt: Receipt, options: StoreOptions, cache: Path, jobs: int, console: Console
) -> InstallResult:
    """Install what *receipt* names again, where it says, bound as it says if that Python is still there."""
    from distributor.host.install import install
    from distributor.host.request import InstallRequest

    destination = Path(receipt.destination)
    if destination.resolve() != venv.resolve():
        raise Refused(
            f"{venv.resolve()} was installed as {destination} and moved: install it where it shall stand"
        )
    python = Path(receipt.python)
    reason = options.allow_expired
    request = InstallRequest(
        service=receipt.service,
        release=receipt.release,
        destination=destination,
        evidence=options.state / "failed-checks",
        python=python if python.exists() else None,
        target=receipt.target,
        jobs=jobs,
        repair=True,
        cache=cache.absolute(),
        note=f"expired metadata was accepted: {reason}" if reason else None,
    )
    result = install(request, lambda: open_releases(options), StepProgress(console))
    console.done()
    return result


def _groups(found: _Found) -> dict[str, list[str]]:
    """Return the differences by kind; where records are damaged, they are all that is known."""
    if found.differences is None:
        return {name: [".venvoy"] if name == "altered" else [] for name, _ in _WORDS}
    return {name: list(getattr(found.differences, name)) for name, _ in _WORDS}


def _document(venv: Path, receipt: Receipt, found: _Found) -> dict[str, object]:
    return {
        "venv": str(venv),
        "clean": found.clean,
        "artifact": receipt.identity,
        "mutable": list(found.differences.mutable) if found.differences else [],
        **_groups(found),
    }


def _lines(found: _Found) -> list[str]:
    if found.differences is None:
        return [found.damage]
    lines = []
    for name, word in _WORDS:
        paths: tuple[str, ...] = getattr(found.differences, name)
        lines += [f"{word}: {path}" for path in paths[:_SHOWN]]
        if len(paths) > _SHOWN:
            lines.append(f"{word}: ... and {len(paths) - _SHOWN} more")
    return lines


def _text(venv: Path, found: _Found) -> str:
    lines = _lines(found)
    if found.differences is not None and found.differences.mutable:
        lines.append(f"{len(found.differences.mutable)} files of mutable paths are the host's own")
    if found.clean:
        lines.append(f"{venv}: every file is as signed")
    else:
        lines.append(f"{venv} is not what was installed: 'venvoy verify {venv} --repair' mends it")
    return "\n".join(lines)


def _repaired_text(venv: Path, after: _Found, result: InstallResult) -> str:
    lines = [_text(venv, after)]
    if result.replaced:
        lines.append(f"the damaged tree lies in {result.replaced} until 'venvoy gc'")
    if result.restart_pids:
        lines.append(f"restart: {', '.join(map(str, result.restart_pids))} still run from the replaced tree")
    return "\n".join([*lines, *result.notes])
