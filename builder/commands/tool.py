"""``venvoy tool``: Venvoy's own host part as an artifact."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import (
    FOLDER,
    cache_option,
    jobs_option,
    json_option,
    offline_option,
    pythons_option,
    wheels_option,
)
from builder.commands.progress import BuildSteps, artifact_line, artifact_value
from manifests.console import Console

if TYPE_CHECKING:
    from manifests.target import Target


@click.command("tool")
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Build for hosts of this target; may be repeated. [default: this machine's]",
)
@click.option(
    "--extra",
    "-x",
    "extras",
    multiple=True,
    metavar="NAME",
    default=("http",),
    show_default=True,
    help="What the hosts need beyond directories and bundles: http, s3. May be repeated.",
)
@click.option(
    "--output", "-o", type=FOLDER, default=Path("build"), show_default=True, help="Where the artifact goes."
)
@click.option("--lock-dir", type=FOLDER, help="Where its locks lie. [default: tool-locks, in the output]")
@click.option(
    "--upgrade", is_flag=True, help="Ignore the versions in existing locks and take the newest that fit."
)
@wheels_option(
    "A read-only wheel cache: a folder, a find-links page or a simple index (URL). May be repeated."
)
@cache_option("The writable cache of wheels and layers.")
@offline_option
@pythons_option
@jobs_option
@json_option
def command(
    *,
    targets: tuple[str, ...],
    extras: tuple[str, ...],
    output: Path,
    lock_dir: Path | None,
    upgrade: bool,
    sources: tuple[str, ...],
    cache: Path,
    offline: bool,
    pythons: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    """Build what hosts run of Venvoy: an artifact of the service venvoy-host, for each target.

    It is built like every artifact, but of gzip members: a host that has nothing but tar, sha256sum
    and python3 unpacks it, and binds it to its Python. Published and pinned, it travels in bundles
    (venvoy export --with-tool) and upgrades itself (venvoy install venvoy-host).

    \b
    Examples:
      venvoy tool
      venvoy tool -t cp310-linux_x86_64-glibc2.35 -t cp312-linux_x86_64-glibc2.39 -o build
    On a bare host:
      echo "SHA256  TARBALL" | sha256sum -c
      mkdir /opt/venvoy && tar -xzf TARBALL -C /opt/venvoy && /opt/venvoy/bin/venvoy-bind
    """
    from builder.release_build import pythons_from
    from builder.tool.host_part import HostPart
    from builder.wheels.cache import WheelCache
    from manifests.target import Target

    console = Console(quiet=as_json)
    chosen = [Target.parse(target) for target in targets] or [_this_machines()]
    part = HostPart(
        output=output,
        locks=lock_dir or output / "tool-locks",
        cache=WheelCache(cache),
        cache_root=cache,
        extras=extras,
        sources=sources,
        pythons=pythons_from(pythons),
        upgrade=upgrade,
        offline=offline,
        jobs=jobs,
    )
    steps = BuildSteps(console)
    built = part.build(chosen, steps, steps.wheels, console.line)
    console.done()
    if as_json:
        click.echo(json.dumps({"artifacts": [artifact_value(item) for item in built]}, indent=2))
        return
    for item in built:
        click.echo(artifact_line(item))
        click.echo(f"sha256 {item.artifact.sha256}")


def _this_machines() -> Target:
    from manifests.interpreter import probe
    from manifests.target import Target

    found = probe(Path(sys.executable))
    return Target(found.python, found.abi_flags, found.machine, found.libc, found.libc_version)
