"""Paths that several layers own: harmless where the bytes agree, refused where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from builder.layer import LayerRecord
from manifests.artifact import Overlap
from manifests.errors import Refused


def find_overlaps(layers: Sequence[LayerRecord], allowed: Sequence[str] = ()) -> tuple[Overlap, ...]:
    """Return every path that several of *layers* own, sorted.

    *allowed* holds glob patterns (``*`` crosses ``/``) of paths that may differ; the last layer wins
    there. Raises Refused naming both distributions for each other difference, and wherever one layer
    has a file where another has a directory.
    """
    owners: dict[str, int] = {}
    shared: dict[str, list[int]] = {}
    problems = []
    for index, layer in enumerate(layers):
        for path, content in layer.files.items():
            first = owners.setdefault(path, index)
            if first == index:
                continue
            shared.setdefault(path, [first]).append(index)
            if layers[first].files[path] != content and not _matches(path, allowed):
                problems.append(
                    f"{_name(layers[first])} and {_name(layer)} both own {path}, with different bytes"
                )
    problems += _files_as_directories(layers, owners)
    if problems:
        shown = problems[:10]
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise Refused(
            "\n".join(shown) + more + "\nallow a path in the spec (allow-overlap) if the last one may win"
        )
    return tuple(Overlap(path=path, layers=tuple(indexes)) for path, indexes in sorted(shared.items()))


def _files_as_directories(layers: Sequence[LayerRecord], owners: dict[str, int]) -> list[str]:
    problems = []
    for layer in layers:
        for path in sorted(layer.directories & owners.keys()):
            problems.append(
                f"{path} is a file of {_name(layers[owners[path]])} and a directory of {_name(layer)}"
            )
    return problems


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _name(layer: LayerRecord) -> str:
    return f"{layer.distribution} {layer.version}".strip()
