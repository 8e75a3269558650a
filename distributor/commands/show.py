"""``venvoy show``: one release, channel or artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distributor.commands.options import json_option, report, root_option, state_option, store_option
from manifests.console import Console, size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact
    from manifests.channels import Move
    from manifests.pins import ReleasePins


@click.command(name="show")
@click.argument("name", metavar="RELEASE|CHANNEL|ARTIFACT")
@store_option
@root_option
@state_option
@json_option
def command(name: str, store: str, root: Path | None, state: Path, *, as_json: bool) -> None:
    """Show what a release or a channel means, or what an artifact is. Needs no keys.

    An artifact is named as 'show RELEASE' prints it: SERVICE-VERSION-TARGET-ID.

    \b
    Examples:
      venvoy show 2026.1.0 --store /srv/venvoy
      venvoy show stable
      venvoy show keystone-28.0.0-cp311-linux_x86_64-glibc2.36-0123456789ab --json
    """
    from distributor.audit.references import find_artifact
    from distributor.commands.opening import open_trust
    from distributor.trust.channels import channels

    _, trust = open_trust(store, root, state, Console(quiet=as_json).line)
    moves = channels(trust)
    release = moves[name].release if name in moves else name
    if release in trust.releases():
        pins = trust.pins(release)
        report(_release(pins, moves), lambda: _release_text(pins, moves), as_json=as_json)
        return
    artifact = find_artifact(trust, name)
    pinned = _releases_with(trust, artifact)
    report(_artifact(artifact, pinned), lambda: _artifact_text(artifact, pinned), as_json=as_json)


def _releases_with(trust: Trust, artifact: Artifact) -> list[str]:
    from manifests.release_order import in_order

    names = in_order(trust.releases())
    return [
        name for name in names if any(pin.manifest == artifact.manifest_path for pin in trust.pins(name).pins)
    ]


def _label(manifest: str) -> str:
    return manifest.rpartition("/")[2].removesuffix(".json.gz")


def _release(pins: ReleasePins, moves: Mapping[str, Move]) -> dict[str, object]:
    return {
        "release": pins.release,
        "channels": [name for name, move in moves.items() if move.release == pins.release],
        "barriers": pins.barriers or {},
        "artifacts": [
            {
                "service": pin.service,
                "target": pin.target,
                "version": pin.version,
                "artifact": _label(pin.manifest),
                "manifest": pin.manifest,
                "manifest_length": pin.length,
                "manifest_sha256": pin.sha256,
            }
            for pin in pins.pins
        ],
    }


def _release_text(pins: ReleasePins, moves: Mapping[str, Move]) -> str:
    lines = [f"release {pins.release}"]
    for move in moves.values():
        if move.release == pins.release:
            lines.append(f"  {move.channel} since {move.when}, by {move.who}: {move.why}")
    lines += [f"  {_label(pin.manifest)}" for pin in pins.pins]
    lines += [f"  barrier of {service}: {words}" for service, words in (pins.barriers or {}).items()]
    return "\n".join(lines)


def _artifact(artifact: Artifact, releases: list[str]) -> dict[str, object]:
    needs = artifact.needs
    return {
        "artifact": artifact.stem,
        "service": artifact.service,
        "version": artifact.version,
        "target": str(artifact.target),
        "identity": artifact.identity,
        "tarball": artifact.tarball_path,
        "length": artifact.length,
        "unpacked": artifact.unpacked_size,
        "sha256": artifact.sha256,
        "compiled_by": artifact.compiled_by,
        "needs": {
            "python": needs.python,
            "machine": needs.machine,
            "libc": f"{needs.libc} {needs.libc_version}",
            "libraries": sorted(needs.libraries),
        },
        "releases": releases,
        "packages": [
            {"name": layer.distribution, "version": layer.version, "length": layer.length}
            for layer in artifact.layers
            if layer.wheel
        ],
        "rollback_barrier": artifact.rollback_barrier,
    }


def _artifact_text(artifact: Artifact, releases: list[str]) -> str:
    needs = artifact.needs
    packages = [layer for layer in artifact.layers if layer.wheel]
    lines = [
        artifact.stem,
        f"  {artifact.service} {artifact.version} for {artifact.target}",
        f"  {size(artifact.length)}, unpacked {size(artifact.unpacked_size)}, {len(packages)} packages",
        f"  sha256 {artifact.sha256}",
        f"  needs {needs.python}, {needs.machine}, {needs.libc} {needs.libc_version} or newer"
        + (f", {', '.join(sorted(needs.libraries))}" if needs.libraries else ""),
        f"  pinned by {', '.join(releases) or 'no release'}",
    ]
    if artifact.rollback_barrier:
        lines.append(f"  barrier: {artifact.rollback_barrier}")
    return "\n".join(lines + [f"    {layer.distribution} {layer.version}" for layer in packages])
