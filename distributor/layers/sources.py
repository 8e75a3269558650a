"""In which order a host looks for a layer: its cache, what is installed, patches to that, the store.

What only a store far away has is brought ahead, several layers in one request where they lie side by
side, while others are unpacked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from distributor.layers.cache import LayerCache, OpenedLayer, OpenLayer, fetched, piece_of, through_cache
from distributor.system.pipeline import Ahead, Came
from manifests.errors import VenvoyError

if TYPE_CHECKING:
    from distributor.layers.release_source import ReleaseSource
    from manifests.artifact import Artifact, Layer

_LOAD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LayerSources:
    """How the layers of an artifact are opened, and which of them are worth bringing ahead, by index.

    *missing* is empty where the store is near: its bytes are as good as in the cache.
    """

    open_layer: OpenLayer
    missing: tuple[int, ...] = ()
    ahead: Callable[[Callable[[int], None]], Ahead] | None = None
    """Makes what brings them into the cache; it is given who is told of the bytes that came."""


def layers_of(artifact: Artifact, source: ReleaseSource, cache: Path | None, beside: Path) -> LayerSources:
    """Return how layers of *artifact* are opened, with the least bytes fetched from *source*.

    Layers that the cache lacks are rebuilt from what is installed at or next to *beside*, or come by
    patches to that. Raises what *source* does.
    """
    straight = fetched(artifact, source.fetch)
    if cache is None:
        return LayerSources(open_layer=straight)
    layers = LayerCache(cache)
    lacking = [index for index, layer in enumerate(artifact.layers) if not layers.has(layer)]
    if not lacking:
        return LayerSources(open_layer=through_cache(straight, layers))
    from distributor.layers.patching import best_patches, find_bases, patched, rebuilt, together

    bases = find_bases(beside)
    ours = [base for base in bases if base.artifact.service == artifact.service]
    sets = source.patch_sets(artifact, [base.artifact.identity for base in ours]) if ours else []
    best = best_patches(sets, ours, artifact)
    if best:
        straight = patched(best, together(best, source.fetch, cache), layers, straight)
    here = {layer.tar_sha256 for base in bases for layer in base.artifact.layers} | best.keys()
    missing = [index for index in lacking if artifact.layers[index].tar_sha256 not in here]
    open_layer = through_cache(rebuilt(bases, straight) if bases else straight, layers)
    if source.is_near or not missing:
        return LayerSources(open_layer=open_layer)
    return LayerSources(
        open_layer=open_layer,
        missing=tuple(missing),
        ahead=lambda brought: _ahead(artifact, source, layers, missing, brought),
    )


def loads_of(artifact: Artifact, missing: Sequence[int]) -> list[list[int]]:
    """Group the layers *missing*: neighbours in the tarball in one load, which is some megabytes at most."""
    loads: list[list[int]] = []
    size = 0
    for index in missing:
        length = artifact.layers[index].length
        if loads and loads[-1][-1] == index - 1 and size + length <= _LOAD_BYTES:
            loads[-1].append(index)
            size += length
        else:
            loads.append([index])
            size = length
    return sorted(loads, key=lambda load: -sum(artifact.layers[index].tar_length for index in load))


def _ahead(
    artifact: Artifact,
    source: ReleaseSource,
    cache: LayerCache,
    missing: Sequence[int],
    brought: Callable[[int], None],
) -> Ahead:
    loads = loads_of(artifact, missing)

    def bring(number: int, came: Came) -> list[tuple[int, IO[bytes]]]:
        load = loads[number]
        layers = [artifact.layers[index] for index in load]
        held: list[tuple[int, IO[bytes]]] = []

        def take(position: int, verified: IO[bytes]) -> None:
            layer = layers[position]
            cache.keep(layer, OpenedLayer(verified, layer.length))
            held.append((load[position], verified))
            came(layer.length)

        with _named(layers):
            pieces = [piece_of(artifact, layer) for layer in layers]
            source.fetch_run(pieces, cache.folder(layers[0]), take)
        return held

    return Ahead(loads=len(loads), bring=bring, brought=brought)


@contextlib.contextmanager
def _named(layers: Sequence[Layer]) -> Iterator[None]:
    """Name the layers in errors of the block."""
    names = [layer.distribution or "at the end" for layer in layers]
    try:
        yield
    except VenvoyError as error:
        name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        raise type(error)(f"layer {name}: {error}") from error
