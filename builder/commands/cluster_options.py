"""What commands that build, or work for those that do, ask for about clusters."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manifests.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from builder.execution.crew import Crew

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)
_FILES = (
    ("--cluster-ca", "CA", "The certificate authority of the cluster, and of nothing else (PEM)"),
    ("--cluster-cert", "CERT", "This end's certificate (PEM)"),
    ("--cluster-key", "KEY", "Its key (PEM, readable by its owner alone)"),
)


@dataclass(frozen=True, kw_only=True)
class CrewChoice:
    """Who shall build: the cluster at *address* with its files, or where it is None this machine."""

    address: str | None = None
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    share: str | None = None

    @contextmanager
    def hire(self, jobs: int, note: Callable[[str], None]) -> Iterator[Crew]:
        """Give the crew; *jobs* processes of this machine where there is no cluster.

        *note* is told where foreign code runs without a sandbox, and what is waited for.

        Raises InvalidInput, NotFound or Refused for options that do not fit together.
        """
        if self.address is None:
            if self.share is not None:
                raise InvalidInput("--share is for clusters; name one with --cluster, or leave it out")
            from builder.execution.local import LocalCrew

            yield LocalCrew(jobs=jobs, warn=note)
            return
        from builder.execution.address import cluster_address

        address = cluster_address(
            self.address, authority=self.authority, certificate=self.certificate, key=self.key
        )
        if importlib.util.find_spec("distributed") is None:
            raise NotFound("--cluster needs distributed, which is not here: pip install 'venvoy[cluster]'")
        from builder.execution.cluster_crew import ClusterCrew

        with ClusterCrew(address, share=self.share, note=note) as crew:
            yield crew


def cluster_files(command: _Command) -> _Command:
    """Add ``--cluster-ca``, ``--cluster-cert`` and ``--cluster-key``."""
    for option, variable, what in reversed(_FILES):
        name = f"VENVOY_CLUSTER_{variable}"
        command = click.option(option, type=_FILE, envvar=name, help=f"{what}. Also {name}.")(command)
    return command


def crew_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--cluster``, its files and ``--share``; *command* gets them as ``crew_choice``."""

    @click.option(
        "--cluster",
        metavar="ADDRESS",
        envvar="VENVOY_CLUSTER",
        help="Build on the Dask cluster whose scheduler is at tls://host:port instead of here. "
        "Also VENVOY_CLUSTER.",
    )
    @cluster_files
    @click.option(
        "--share",
        metavar="PLACE",
        envvar="VENVOY_SHARE",
        help="s3://bucket/prefix through which wheels and layers travel, where the workers do not use "
        "the same cache folder. Also VENVOY_SHARE.",
    )
    @functools.wraps(command)
    def with_choice(
        cluster: str | None,
        cluster_ca: Path | None,
        cluster_cert: Path | None,
        cluster_key: Path | None,
        share: str | None,
        **others: Any,
    ) -> Any:
        jobs = click.get_current_context().get_parameter_source("jobs")
        if cluster is not None and jobs is click.core.ParameterSource.COMMANDLINE:
            raise InvalidInput("--jobs is for builds on this machine; 'venvoy worker' tells workers theirs")
        choice = CrewChoice(
            address=cluster, authority=cluster_ca, certificate=cluster_cert, key=cluster_key, share=share
        )
        return command(crew_choice=choice, **others)

    return with_choice
