"""In which order a host looks for a layer: its cache, a patch to what it has, the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.layers import LayerCache, OpenLayer, fetched, through_cache

if TYPE_CHECKING:
    from distributor.patching import Base
    from distributor.release_source import ReleaseSource
    from manifests.artifact import Artifact


def layers_of(
    artifact: Artifact, source: ReleaseSource, cache: Path | None, bases: Sequence[Base]
) -> OpenLayer:
    """Return how layers of *artifact* are opened, with the least bytes fetched from *source*.

    *bases* are the artifacts that patches may be applied to. Raises what *source* does.
    """
    straight = fetched(artifact, source.fetch)
    if cache is None:
        return straight
    layers = LayerCache(cache)
    if bases and any(not layers.has(layer) for layer in artifact.layers):
        from distributor.patching import patched

        sets = source.patch_sets(artifact, [base.artifact.identity for base in bases])
        if sets:
            straight = patched(sets, bases, source.fetch, layers, straight)
    return through_cache(straight, layers)
