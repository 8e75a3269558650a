"""Entry points that lead somewhere: those whose module is in the artifact."""

from __future__ import annotations

from collections.abc import Sequence

from builder.layers.layer import LayerRecord
from manifests.artifact import EntryPoint


def split_entry_points(
    layers: Sequence[LayerRecord], site_packages: str
) -> tuple[tuple[EntryPoint, ...], tuple[str, ...]]:
    """Return the entry points that an install can check, sorted, and notes on those that lead nowhere.

    A wheel may well name a module that only another extra or a test package brings; its launcher is
    installed as pip would, but it must not fail every install.
    """
    modules = {
        path[len(site_packages) + 1 :].split(".", 1)[0]
        for layer in layers
        for path in layer.files
        if path.endswith((".py", ".so")) and path.startswith(site_packages)
    }
    good, notes = [], []
    for layer in layers:
        for point in layer.entry_points:
            place = point.module.replace(".", "/")
            if place in modules or f"{place}/__init__" in modules:
                good.append(point)
            else:
                notes.append(
                    f"{layer.distribution} {layer.version}: bin/{point.name} needs {point.module}, "
                    "which no locked wheel holds"
                )
    return tuple(sorted(good, key=lambda point: point.name)), tuple(notes)
