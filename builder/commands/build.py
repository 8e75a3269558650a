"""``venvoy build``: locks become artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.cluster_options import CrewChoice, crew_options
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
from builder.commands.remote_options import remote_options
from builder.commands.sandbox_options import sandbox_options
from manifests.console import Console

if TYPE_CHECKING:
    from builder.sandbox.cage import SandboxMode
    from builder.sandbox.limits import BuildLimits


@click.command("build")
@click.argument("spec", type=click.Path(path_type=Path), default=Path("release.toml"))
@click.option(
    "--service",
    "-s",
    "services",
    multiple=True,
    metavar="NAME",
    help="Build this service only; may be repeated.",
)
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Build for this target instead of those in the spec; may be repeated.",
)
@click.option(
    "--output", "-o", type=FOLDER, default=Path("build"), show_default=True, help="Where artifacts go."
)
@wheels_option(
    "A read-only wheel cache: a folder, a find-links page or a simple index (URL). May be repeated; "
    "asked in order."
)
@cache_option("The writable cache of wheels and layers.")
@offline_option
@click.option("--lock-dir", type=FOLDER, help="Where the locks lie. [default: locks, beside the spec]")
@pythons_option
@click.option("--no-pyc", is_flag=True, help="Leave compiled files out.")
@click.option("--compression", type=click.Choice(["zstd", "gzip"]), default="zstd", show_default=True)
@click.option("--level", type=int, help="Compression level. [default: zstd 7, gzip 6]")
@jobs_option
@click.option(
    "--builder-id",
    envvar="VENVOY_BUILDER_ID",
    metavar="URI",
    help="Who builds, for the provenance. Also VENVOY_BUILDER_ID. [default: one made of the host's name]",
)
@json_option
@remote_options
@sandbox_options
@crew_options
def command(
    *,
    spec: Path,
    services: tuple[str, ...],
    targets: tuple[str, ...],
    output: Path,
    sources: tuple[str, ...],
    cache: Path,
    offline: bool,
    lock_dir: Path | None,
    pythons: tuple[str, ...],
    no_pyc: bool,
    compression: str,
    level: int | None,
    jobs: int,
    builder_id: str | None,
    crew_choice: CrewChoice,
    sandbox: SandboxMode,
    limits: BuildLimits,
    as_json: bool,
) -> None:
    """Build an artifact for each service and target of SPEC (default: release.toml) from its lock.

    Wheels come from the cache, from --wheels, or from where the lock says; each is checked against
    the lock's digest and its own RECORD. What is cached is not done again: wheels by digest, layers
    by their inputs, artifacts by identity. Beside each artifact go its bill of materials (CycloneDX) and
    how it came to be (SLSA provenance).

    With --remote a build service does all that and this command shows how it goes; Ctrl-C leaves the
    build running there, and the same command comes back to it.

    \b
    Examples:
      venvoy build
      venvoy build release.toml -s keystone -o build
      venvoy build --offline --wheels /srv/wheels --wheels /srv/more-wheels
      venvoy build -t cp312-linux_aarch64-glibc2.39
      venvoy build --cluster tls://build1:8786 --cluster-ca ca.pem --cluster-cert me.pem --cluster-key me.key
      venvoy build --remote https://builds.example --token-file /etc/ci/venvoy-token --publish
    """
    from builder.caching.usage import registered
    from builder.describing.describer import Describer
    from builder.describing.provenance import BuildRun
    from builder.jobs import chosen_jobs, lock_path
    from builder.layers.compression import Compression
    from builder.pipeline import ArtifactBuilder
    from builder.release_build import Preparation, pythons_from
    from builder.wheels.cache import WheelCache
    from manifests.release_spec import read_release_spec
    from manifests.target import Target

    console = Console(quiet=as_json)
    release = read_release_spec(spec)
    chosen = chosen_jobs(release, services, [Target.parse(target) for target in targets])
    chosen_level = level if level is not None else 6 if compression == "gzip" else Compression.level
    describer = Describer(
        run=BuildRun.now(release.release, builder_id),
        locks={
            (service.name, str(target)): lock_path(release, service.name, target, lock_dir)
            for service, target in chosen
        },
        options={"compression": compression, "level": chosen_level, "bytecode": not no_pyc},
    )
    progress = BuildSteps(console)
    with registered(cache), crew_choice.hire(jobs, console.line) as crew:
        preparation = Preparation(
            cache=WheelCache(cache),
            sources=sources,
            lock_directory=lock_dir,
            pythons=pythons_from(pythons),
            offline=offline,
            bytecode=not no_pyc,
            crew=crew,
            limits=limits,
            sandbox=sandbox,
        )
        builder = ArtifactBuilder(
            cache_root=cache,
            output=output,
            compression=Compression(compression, chosen_level),
            crew=crew,
            describer=describer,
        )
        builds = preparation.prepare(release, chosen, progress.wheels, console.line)
        built = builder.build(builds, progress)
    console.done()
    if as_json:
        click.echo(
            json.dumps(
                {"release": release.release, "artifacts": [artifact_value(item) for item in built]}, indent=2
            )
        )
    else:
        for item in built:
            click.echo(artifact_line(item))
