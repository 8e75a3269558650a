"""``venvoy reproduce``: build an artifact again, and compare to the bit."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.options import (
    FOLDER,
    cache_option,
    jobs_option,
    json_option,
    offline_option,
    wheels_option,
)
from builder.commands.progress import BuildSteps
from builder.commands.sandbox_options import sandbox_options
from manifests.console import Console
from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from builder.sandbox.cage import SandboxMode
    from builder.sandbox.limits import BuildLimits


@click.command("reproduce")
@click.argument("artifact", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("spec", type=click.Path(path_type=Path), default=Path("release.toml"))
@wheels_option("Where wheels are (a folder, a find-links page or a simple index); may be repeated.")
@cache_option("The cache of wheels; layers are not taken from it.")
@offline_option
@click.option("--lock-dir", type=FOLDER, help="Where the locks lie. [default: locks, beside the spec]")
@click.option(
    "--python", type=click.Path(dir_okay=False, path_type=Path), help="The interpreter that compiles."
)
@click.option(
    "--level", type=int, help="Compression level. [default: as its provenance says, else zstd 7, gzip 6]"
)
@click.option(
    "--keep", type=FOLDER, metavar="FOLDER", help="Keep what was built in this folder. [default: remove it]"
)
@jobs_option
@json_option
@sandbox_options
def command(
    *,
    artifact: Path,
    spec: Path,
    sources: tuple[str, ...],
    cache: Path,
    offline: bool,
    lock_dir: Path | None,
    python: Path | None,
    level: int | None,
    keep: Path | None,
    jobs: int,
    sandbox: SandboxMode,
    limits: BuildLimits,
    as_json: bool,
) -> None:
    """Build ARTIFACT again from SPEC (default: release.toml), its lock and its wheels; compare to the bit.

    ARTIFACT is its manifest or its tarball, in a build or in a store's directory; the other one must lie
    beside it. All layers are built anew, in another folder. Exits with 3 where something differs, and names
    the first layer and member that does.

    \b
    Examples:
      venvoy reproduce build/artifacts/keystone/keystone-29.0.2-cp311-linux_x86_64-glibc2.36-0123456789ab.json
      venvoy reproduce nova-33.0.2-cp311-linux_x86_64-glibc2.36-89abcdef0123.tar.zst \\
          examples/openstack-2026.1/release.toml --offline --wheels /srv/wheels
    """
    from builder.rebuilding import Rebuild
    from builder.reproducing import compare, read_files

    console = Console(quiet=as_json)
    old = read_files(artifact)
    rebuild = Rebuild(
        spec=spec,
        cache=cache,
        sources=sources,
        lock_directory=lock_dir,
        python=python,
        offline=offline,
        level=level,
        jobs=jobs,
        limits=limits,
        sandbox=sandbox,
    )
    with tempfile.TemporaryDirectory(prefix="venvoy-reproduce-") as folder:
        steps = BuildSteps(console)
        where = keep or Path(folder)
        new, notes = rebuild.build(old, where, steps, wheels=steps.wheels, note=console.line)
        console.done()
        difference = compare(old, new)
    stem = old.artifact.stem
    if difference is not None:
        raise VerificationFailed(
            "\n".join([f"{stem} was not reproduced; the first difference: {difference}", *notes])
        )
    document = {"artifact": stem, "reproduced": True, "sha256": old.artifact.sha256, "notes": notes}
    text = f"reproduced {stem}: sha256 {old.artifact.sha256}"
    click.echo(json.dumps(document, indent=2) if as_json else text)
