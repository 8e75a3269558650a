"""In which order a host looks for a layer: its cache, what is installed, patches to that, the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distributor.layers.cache import LayerCache, OpenLayer, fetched, through_cache

if TYPE_CHECKING:
    from distributor.layers.release_source import ReleaseSource
    from manifests.artifact import Artifact


def layers_of(artifact: Artifact, source: ReleaseSource, cache: Path | None, beside: Path) -> OpenLayer:
    """Return how layers of *artifact* are opened, with the least bytes fetched from *source*.

    Layers that the cache lacks are rebuilt from what is installed at or next to *beside*, or come by
    patches to that. Raises what *source* does.
    """
    straight = fetched(artifact, source.fetch)
    if cache is None:
        return straight
    layers = LayerCache(cache)
    if all(layers.has(layer) for layer in artifact.layers):
        return through_cache(straight, layers)
    from distributor.layers.patching import find_bases, patched, rebuilt

    bases = find_bases(beside)
    ours = [base for base in bases if base.artifact.service == artifact.service]
    sets = source.patch_sets(artifact, [base.artifact.identity for base in ours]) if ours else []
    if sets:
        straight = patched(sets, ours, source.fetch, layers, straight)
    return through_cache(rebuilt(bases, straight) if bases else straight, layers)
