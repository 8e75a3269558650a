"""``venvoy worker``: this machine builds for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.commands.cluster_options import cluster_files
from builder.commands.options import cache_option, jobs_option
from manifests.console import Console

if TYPE_CHECKING:
    from builder.sandbox.cage import SandboxMode


@click.command("worker")
@click.argument("scheduler", metavar="SCHEDULER")
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[-- DASK OPTIONS]")
@cluster_files
@cache_option("The cache of wheels and layers, best the one that builds use.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="An interpreter to build with; may be repeated. [default: all that are found]",
)
@jobs_option
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "require", "off"]),
    default="auto",
    envvar="VENVOY_SANDBOX",
    show_default=True,
    help="How to build sdists; what a build asks for counts where it is stricter. Also VENVOY_SANDBOX.",
)
@click.option("--offers", is_flag=True, help="Print what this machine would announce, and do nothing.")
def command(
    *,
    scheduler: str,
    more: tuple[str, ...],
    cluster_ca: Path | None,
    cluster_cert: Path | None,
    cluster_key: Path | None,
    cache: Path,
    pythons: tuple[Path, ...],
    jobs: int,
    sandbox: SandboxMode,
    offers: bool,
) -> None:
    """Build layers and wheels for the cluster whose scheduler is at SCHEDULER (tls://host:port).

    The workers announce this machine's interpreters as Dask resources, such as
    cp311-linux_x86_64-glibc2.36@3.11.2: builds of a target go where it can be built. They run until
    SIGTERM, and come back when a scheduler that was lost does. The scheduler is Dask's own:
    "dask scheduler". What stands behind -- goes to Dask's worker command.

    \b
    Examples:
      venvoy worker tls://scheduler:8786 --cluster-ca ca.pem --cluster-cert me.pem --cluster-key me.key
      venvoy worker tcp://127.0.0.1:8786 --jobs 2
      venvoy worker tls://scheduler:8786 -- --worker-port 9000:9031 --nanny-port 9100:9131
    """
    from builder.execution.address import cluster_address
    from builder.execution.offers import own_interpreters
    from builder.execution.worker import Workers
    from builder.sandbox.cage import choose_cage
    from manifests.errors import NotFound

    console = Console()
    address = cluster_address(scheduler, authority=cluster_ca, certificate=cluster_cert, key=cluster_key)
    found = own_interpreters(pythons)
    if not found:
        raise NotFound("there is no Python here to build with; install one, or name it with --python")
    root = cache.absolute()
    workers = Workers(
        address=address,
        interpreters=found,
        cache=root,
        jobs=jobs,
        sandbox=sandbox,
        more=more,
    )
    if offers:
        for offer in workers.offers:
            click.echo(offer)
        return
    if (warning := choose_cage(sandbox).warning) is not None:
        console.line(f"warning: {warning}")
    for offer, interpreter in zip(workers.offers, found, strict=True):
        console.line(f"offering {offer} ({interpreter.executable})")
    workers.run(console.line)
