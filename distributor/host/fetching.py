"""Fetching ahead: everything that an install will need, brought into the host's cache.

Activation is then a matter of seconds and needs no network: metadata, pins and manifest were verified
and remembered, the layers lie in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from distributor.checks.host_check import check_needs, check_space, choose_pin
from distributor.layers.cache import CACHE_LIMIT, LayerCache
from distributor.layers.release_source import ReleaseSource
from distributor.layers.sources import layers_of
from distributor.places import private_directory
from distributor.system.pipeline import can_fork, run_pipeline
from distributor.system.syncing import sync_file_system
from distributor.system.workers import run_tasks
from manifests.artifact import Artifact

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """One artifact whose layers all lie in the cache now; *fetched* bytes of it were not there before."""

    artifact: Artifact
    fetched: int


def fetch(  # noqa: PLR0913 - what is wanted, from where, to where, and how
    service: str,
    release: str,
    source: ReleaseSource,
    cache: Path,
    *,
    target: str | None = None,
    python: Path | None = None,
    beside: Path | None = None,
    jobs: int = 2,
    report: Report = lambda *_: None,
) -> FetchResult:
    """Bring the artifact that *release* pins for *service* on this host into *cache*.

    Patches are applied to what of *service* is installed at or next to *beside*.
    Raises a VenvoyError, or OSError from the disk. What came so far stays, and is not fetched again.
    """
    report("verify metadata", 0, 0)
    pin, interpreter = choose_pin(source.pins(release).find(service, target), python)
    artifact = source.manifest(pin)
    check_needs(artifact, interpreter)
    layers = LayerCache(private_directory(cache, tighten=True))
    check_space(artifact, cache)
    sources = layers_of(artifact, source, cache, beside or cache)
    fetched = done = 0

    def bring(index: int, held: IO[bytes] | None = None) -> int:
        if held is not None:
            held.close()
            if layers.has(artifact.layers[index]):
                return 0
        opened = sources.open_layer(artifact.layers[index], cache)
        opened.file.close()
        return opened.fetched

    def brought(index: int, count: int) -> None:
        nonlocal fetched, done
        fetched += count
        done += artifact.layers[index].length
        report(f"fetch {service}", done, artifact.length)

    def came(count: int) -> None:
        nonlocal fetched
        fetched += count

    report(f"fetch {service}", 0, artifact.length)
    everything = range(len(artifact.layers))
    if sources.ahead is not None and can_fork(len(everything), jobs):
        here = [index for index in everything if index not in sources.missing]
        run_pipeline(sources.ahead(came), here, bring, brought, jobs=jobs)
    else:
        run_tasks(everything, bring, brought, jobs=jobs)
    layers.shrink(CACHE_LIMIT)
    sync_file_system(cache)  # it was fetched for later, so it must outlive a power cut
    return FetchResult(artifact=artifact, fetched=fetched)
