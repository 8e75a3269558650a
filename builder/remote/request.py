"""What a build service needs to build a release: spec, locks, and the files that the spec names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.jobs import chosen_jobs, lock_path
from manifests.errors import InvalidInput, NotFound
from manifests.release_spec import read_release_spec
from manifests.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_request(
    spec: Path, services: Sequence[str], targets: Sequence[str], lock_directory: Path | None
) -> dict[str, Any]:
    """Return the body of the request. Raises as reading a spec and its locks does, without parsing these."""
    release = read_release_spec(spec)
    jobs = chosen_jobs(release, services, [Target.parse(target) for target in targets])
    locks = {}
    for service, target in jobs:
        path = lock_path(release, service.name, target, lock_directory)
        locks[path.name] = _text(path, "no such lock; make it with venvoy lock")
    files = {}
    for service in release.services:
        for source in service.build_constraints:
            if isinstance(source, Path):
                name = str(source.relative_to(spec.parent))
                files[name] = _text(source, "no such constraints file")
    return {
        "spec": _text(spec, "no such file"),
        "locks": locks,
        "files": files,
        "services": list(services),
        "targets": list(targets),
    }


def _text(path: Path, missing: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"{path}: {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from None
