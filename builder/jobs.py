"""Which locks and artifacts a release spec means: services times targets, and where each lock lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manifests.naming import lock_file_name
from manifests.release_spec import ReleaseSpec, ServiceSpec
from manifests.target import Target

_DIRECTORY = "locks"


def lock_path(spec: ReleaseSpec, service: str, target: Target, directory: Path | None = None) -> Path:
    """Return where the lock of *service* for *target* lies."""
    return (directory or spec.path.parent / _DIRECTORY) / lock_file_name(service, str(target))


def chosen_jobs(
    spec: ReleaseSpec, services: Sequence[str] = (), targets: Sequence[Target] = ()
) -> list[tuple[ServiceSpec, Target]]:
    """Return the services named (all where none is), each with its targets, or with *targets* instead.

    Raises NotFound for a service that the spec does not have.
    """
    chosen = [spec.service(name) for name in dict.fromkeys(services)] or spec.services
    return [(service, target) for service in chosen for target in dict.fromkeys(targets) or service.targets]
