"""Entry points that lead somewhere: those whose module is in the artifact."""

from __future__ import annotations

from collections.abc import Sequence

from builder.layer import LayerRecord
from manifests.artifact import EntryPoint


def split_entry_points(
    layers: Sequence[LayerRecord], site_packages: str
) -> tuple[tuple[EntryPoint, ...], tuple[str, ...]]:
    """Return the entry points that an install can check, sorted, and notes on those that lead nowhere.

    A wheel may well name a module that only another extra or a test package brings; its launcher is
    installed as pip would, but it must not fail every install.
    """
    good, notes = [], []
    for layer in layers:
        for point in layer.entry_points:
            if any(_has_module(other, site_packages, point.module) for other in (layer, *layers)):
                good.append(point)
            else:
                notes.append(
                    f"{layer.distribution} {layer.version}: bin/{point.name} needs {point.module}, "
                    "which no locked wheel holds"
                )
    return tuple(sorted(good, key=lambda point: point.name)), tuple(notes)


def _has_module(layer: LayerRecord, site_packages: str, module: str) -> bool:
    place = f"{site_packages}/{module.replace('.', '/')}"
    if f"{place}.py" in layer.files or f"{place}/__init__.py" in layer.files:
        return True
    return any(path.startswith((f"{place}.cpython", f"{place}.abi3", f"{place}.so")) for path in layer.files)
