"""What commands that build show: wheels, layers and artifacts as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from manifests.console import Console, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.pipeline import BuiltArtifact


class BuildSteps:
    """Wheels, layers and artifacts as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def wheels(self, done: int, total: int, name: str) -> None:
        """Show that *done* of *total* wheels are at hand."""
        self._console.bar("wheels", done, total, f"{done}/{total} {name}")

    def layers(self, done: int, total: int, name: str) -> None:
        """Show that *done* of *total* layers are built."""
        self._console.bar("layers", done, total, f"{done}/{total} {name}")
        if done == total:
            self._console.line(f"built {total} layers in {time.monotonic() - self._started:.1f} s")

    def artifact(self, built: BuiltArtifact) -> None:
        """Print what an operator may want to know of an artifact."""
        for note in built.notes:
            self._console.line(f"note: {note}")


def artifact_line(built: BuiltArtifact) -> str:
    """Return what came of a build, on one line."""
    artifact = built.artifact
    wheels = sum(1 for layer in artifact.layers if layer.wheel)
    what = "unchanged" if built.unchanged else "built"
    sizes = f"{size(artifact.length)} ({size(artifact.unpacked_size)} unpacked)"
    return f"{what} {built.tarball}: {wheels} wheels, {sizes}"


def artifact_value(built: BuiltArtifact) -> dict[str, Any]:
    """Return what came of a build, for JSON."""
    artifact = built.artifact
    unpinned: Sequence[str] = built.unpinned
    return {
        "service": artifact.service,
        "version": artifact.version,
        "target": str(artifact.target),
        "identity": artifact.identity,
        "sha256": artifact.sha256,
        "length": artifact.length,
        "tarball": str(built.tarball),
        "manifest": str(built.manifest),
        "status": "unchanged" if built.unchanged else "built",
        "needs": {
            "libc": f"{artifact.needs.libc} {artifact.needs.libc_version}",
            "libraries": {name: list(versions) for name, versions in artifact.needs.libraries.items()},
        },
        "unpinned_wheels": list(unpinned),
        "notes": list(built.notes),
    }
