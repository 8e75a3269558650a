"""Paths that several layers own: harmless where the bytes agree, refused where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from builder.layers.layer import LayerRecord
from manifests.artifact import Overlap
from manifests.errors import Refused
from manifests.layout import SKELETON, TEMPLATES


def find_overlaps(layers: Sequence[LayerRecord], allowed: Sequence[str] = ()) -> tuple[Overlap, ...]:
    """Return every path that several of *layers* own, sorted.

    *allowed* holds glob patterns (``*`` crosses ``/``) of paths that may differ; the last layer wins
    there, but never over the venv's own files. Raises Refused naming both distributions for each
    other difference, and wherever one layer has a file where another has a directory.
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
            own = _is_skeleton(layers[first]) or _is_skeleton(layer)
            if layers[first].files[path] != content and (own or not _matches(path, allowed)):
                problems.append(
                    f"{_name(layers[first])} and {_name(layer)} both own {path}, with different bytes"
                )
    problems += _bound_files(layers)
    problems += _files_as_directories(layers, owners)
    if problems:
        shown = problems[:10]
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise Refused(
            "\n".join(shown) + more + "\nallow a path in the spec (allow-overlap) if the last one may win"
        )
    return tuple(Overlap(path=path, layers=tuple(indexes)) for path, indexes in sorted(shared.items()))


def _bound_files(layers: Sequence[LayerRecord]) -> list[str]:
    """Return the clashes with files that binding makes of the skeleton's templates."""
    bound = {
        f"bin/{path.rpartition('/')[2]}"
        for layer in layers
        if _is_skeleton(layer)
        for path in layer.files
        if path.startswith(f"{TEMPLATES}/")
    }
    return [
        f"{_name(layer)} owns {path}, which belongs to the venv itself"
        for layer in layers
        for path in sorted(bound & layer.files.keys())
    ]


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


def _is_skeleton(layer: LayerRecord) -> bool:
    return layer.distribution == SKELETON


def _name(layer: LayerRecord) -> str:
    if _is_skeleton(layer):
        return "the venv itself"
    return f"{layer.distribution} {layer.version}".strip()
