"""Checks of a staged tree that run nothing of it."""

from __future__ import annotations

from pathlib import Path

from manifests.artifact import Artifact
from manifests.errors import HealthCheckFailed

_SHOWN = 10


def check_entry_points(venv: Path, artifact: Artifact) -> None:
    """Raise HealthCheckFailed naming each entry point whose launcher or module is not in the tree.

    The builder lists only those that it found in the artifact, so that one that lacks here means a
    damaged tree and not a careless wheel.
    """
    site = venv / artifact.target.site_packages
    known: dict[str, bool] = {}
    missing = []
    for point in artifact.entry_points:
        if point.module not in known:
            known[point.module] = _has_module(site, point.module)
        if not known[point.module] or not (venv / "bin" / point.name).is_file():
            missing.append(f"{point.name} ({point.module}:{point.attribute})")
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise HealthCheckFailed(f"{artifact.stem}: entry points that lead nowhere: {shown}")


def _has_module(site: Path, module: str) -> bool:
    place = site.joinpath(*module.split("."))
    if place.is_dir() or place.with_name(f"{place.name}.py").is_file():
        return True
    return any(place.parent.glob(f"{place.name}.*so"))
