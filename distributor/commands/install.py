"""``venvoy install``: a service of a release, on this host."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from distributor.commands.opening import StepProgress, StoreOptions, looking_only, open_wanted
from distributor.commands.options import (
    allow_expired_option,
    bundle_option,
    cache_option,
    channel_option,
    dry_run_option,
    host_store_option,
    jobs_option,
    json_option,
    limit_rate_option,
    python_option,
    release_option,
    report,
    role_request_option,
    root_option,
    state_option,
    target_option,
)
from manifests.console import Console, size

if TYPE_CHECKING:
    from distributor.host.request import InstallRequest, InstallResult

_ABSOLUTE = click.Path(file_okay=False, path_type=Path)


@click.command(name="install")
@click.argument("service")
@release_option
@channel_option
@click.option("--dest", required=True, type=_ABSOLUTE, help="Where the venv shall stand.")
@click.option("--link", type=_ABSOLUTE, help="A symbolic link to flip to the venv when it is complete.")
@host_store_option
@bundle_option
@root_option
@state_option
@cache_option
@click.option("--no-cache", is_flag=True, help="Keep no layers on this host.")
@python_option
@target_option
@jobs_option
@limit_rate_option
@click.option(
    "--link-mode",
    type=click.Choice(["copy", "hardlink", "reflink"]),
    default="copy",
    show_default=True,
    help="How files share disk space with other venvs. Hard links share edits too.",
)
@click.option("--repair", is_flag=True, help="Unpack again what is there already, keeping the host's files.")
@click.option(
    "--non-atomic",
    is_flag=True,
    help="Where the file system cannot exchange directories: replace by two renames, with a gap between.",
)
@click.option("--carry-over", is_flag=True, help="Bring local changes along that nobody declared mutable.")
@click.option("--adopt", is_flag=True, help="Take over a venv that another tool made there.")
@role_request_option
@dry_run_option
@allow_expired_option
@json_option
def command(
    service: str,
    release: str | None,
    channel: str | None,
    dest: Path,
    link: Path | None,
    stores: tuple[str, ...],
    bundle: Path | None,
    root: Path | None,
    state: Path,
    cache: Path | None,
    python: Path | None,
    target: str | None,
    jobs: int,
    limit_rate: int | None,
    link_mode: str,
    allow_expired: str | None,
    role_request: IO[bytes] | None,
    *,
    no_cache: bool,
    repair: bool,
    non_atomic: bool,
    carry_over: bool,
    adopt: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install SERVICE as RELEASE pins it, whole or not at all.

    The artifact is verified against signed metadata, unpacked beside the destination, bound to this
    host's interpreter and renamed into place. Interrupted? Run the same command again. Already
    there? It says "unchanged" and reads nothing from the store, unless a --channel is to be asked for.

    \b
    Examples:
      venvoy install keystone --channel stable --dest /openstack/venvs/keystone
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone-2026.1.0
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone --carry-over
      venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone-2026.1.0 \\
          --link /openstack/venvs/keystone --store /srv/venvoy --root /etc/venvoy/root.json
    """
    from distributor.host.request import InstallRequest
    from manifests.naming import service_name

    request = InstallRequest(
        service=service_name(service),
        release=release or "",
        destination=dest.absolute(),
        link=link.absolute() if link else None,
        python=python,
        target=target,
        jobs=jobs,
        atomic=not non_atomic,
        repair=repair,
        cache=cache_directory(cache, state, no_cache=no_cache, link_mode=link_mode),
        link_mode=link_mode,
        carry_over=carry_over,
        note=_note(channel, allow_expired),
        evidence=state / "failed-checks",
        adopt=adopt,
    )
    if role_request is not None:
        request = with_role_request(request, role_request, state)
    console = Console(quiet=as_json)
    options = StoreOptions(
        stores=stores,
        bundle=bundle,
        root=root,
        state=state,
        limit_rate=limit_rate,
        allow_expired=allow_expired,
    )
    started = time.monotonic()
    with looking_only(options, dry_run=dry_run) as options:
        wanted, open_source = open_wanted(options, release, channel)
        request = replace(request, release=wanted)
        if dry_run:
            from distributor.host.prediction import predict

            result = predict(request, open_source)
        else:
            from distributor.host.install import install

            result = install(request, open_source, StepProgress(console))
    console.done()
    seconds = None if dry_run else time.monotonic() - started
    report(_document(result), lambda: _text(result, seconds), as_json=as_json)


def _note(channel: str | None, allow_expired: str | None) -> str | None:
    """Return what the venv's history shall say of how its release was chosen and believed."""
    expired = f"expired metadata was accepted: {allow_expired}" if allow_expired else None
    notes = [f"by channel {channel}" if channel else None, expired]
    return "; ".join(note for note in notes if note) or None


def with_role_request(request: InstallRequest, stream: IO[bytes], state: Path) -> InstallRequest:
    """Return *request* with what a role asks for in *stream*. Raises InvalidInput."""
    from distributor.host.role_request import read_role_request

    wanted = read_role_request(stream.read(), what="--role-request", state=state)
    return replace(
        request,
        announcement=wanted.announcement,
        preserve=wanted.preserve,
        files=wanted.files,
        link_packages=wanted.link_packages,
        checks=wanted.checks,
    )


def cache_directory(cache: Path | None, state: Path, *, no_cache: bool, link_mode: str) -> Path | None:
    """Return where layers are kept, or None. Raises a usage error where link modes have nowhere to share."""
    if not no_cache:
        return (cache or state / "cache").absolute()
    if link_mode != "copy":
        raise click.UsageError(f"--link-mode {link_mode} shares files with the cache; leave --no-cache out")
    return None


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
        "unpacked": result.unpacked,
        "fetched_bytes": result.fetched_bytes,
        "replaced": str(result.replaced) if result.replaced else None,
        "kept": list(result.kept),
        "aside": list(result.aside),
        "local_changes": list(result.local_changes),
        "restart_pids": list(result.restart_pids),
        "notes": list(result.notes),
        "packages": result.packages.to_value() if result.packages else None,
        "facts": [f"{fact.section}.{fact.option}={fact.value}" for fact in result.facts],
        "notify": list(result.notify),
    }


def _text(result: InstallResult, seconds: float | None) -> str:
    receipt = result.receipt
    what = f"{receipt.service} {receipt.version} (release {receipt.release}, {receipt.identity[:12]})"
    if not result.changed:
        return f"unchanged: {what} in {result.destination}"
    moved = "; link moved" if result.link_flipped else ""
    if not result.unpacked:
        return "\n".join(
            [f"kept the files, noted the release: {what} in {result.destination}{moved}", *result.notes]
        )
    if seconds is None:
        lines = [f"would install: {what} in {result.destination}{moved}", *_package_lines(result)]
    else:
        fetched = size(result.fetched_bytes)
        lines = [f"installed: {what} in {result.destination}, {fetched} fetched, {seconds:.1f} s{moved}"]
    if result.replaced:
        lines.append(f"the tree before it lies in {result.replaced} until 'venvoy gc'")
    lines += [f"kept {path}" for path in result.kept]
    lines += [f"see {path}" for path in result.aside]
    if result.restart_pids:
        lines.append(f"restart: {', '.join(map(str, result.restart_pids))} still run from the replaced tree")
    return "\n".join([*lines, *result.notes])


def _package_lines(result: InstallResult) -> list[str]:
    packages = result.packages
    if packages is None:
        return []
    return [
        *(f"+ {name} {version}" for name, version in packages.added.items()),
        *(f"- {name} {version}" for name, version in packages.removed.items()),
        *(f"  {name} {old} -> {new}" for name, (old, new) in packages.upgraded.items()),
    ]
