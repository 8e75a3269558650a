"""Who does the work of a build. The pipeline knows this seam alone, on one machine and on twenty.

A crew hands out ``concurrent.futures.Future`` objects: ``builder.execution.local`` from worker
processes of this machine, ``builder.execution.cluster_crew`` from a Dask cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from builder.layers.layer import LayerRequest
from manifests.documents import Sha256

if TYPE_CHECKING:
    from builder.wheels.cache import WheelCache
    from builder.wheels.gathering import WheelBuilder
    from builder.wheels.sdist_build import BuildOptions
    from manifests.interpreter import Interpreter
    from manifests.target import Target

Submit = Callable[[LayerRequest], "Future[Sha256]"]
"""Begins to build a layer. The result is its key; the layer is in the caller's cache then."""


class Crew(Protocol):
    """Those who build layers and wheels."""

    def interpreter(self, target: Target, explicit: Path | None) -> Interpreter | None:
        """Return what compiles and builds for *target*, as *explicit* wants it; None where nobody can.

        Raises NotFound or HostUnsuitable for an *explicit* that cannot be had, and StoreUnavailable
        where the crew cannot be asked.
        """

    def layers(self, requests: Sequence[LayerRequest], cache_root: Path) -> AbstractContextManager[Submit]:
        """Give the means to build *requests* into the cache at *cache_root*.

        What still runs or waits when the context ends is not waited for longer than needed.
        """

    def wheel_builder(
        self, cache: WheelCache, target: Target, interpreter: Interpreter | None, options: BuildOptions
    ) -> WheelBuilder:
        """Return what builds wheels of sdists and commits for *target* into *cache*."""


def build_layers(
    requests: Iterable[LayerRequest], cache_root: Path, *, crew: Crew, done: Callable[[LayerRequest], None]
) -> None:
    """Build all *requests*; *done* is called after each, in any order.

    The first error ends the work: what has not begun is cancelled, what was built stays in the cache.
    Raises HostUnsuitable where a worker dies and nobody can take over.
    """
    # Long jobs first, so that no worker starts a large one when the others are done.
    ordered = sorted(requests, key=lambda request: (-request.wheel.stat().st_size, request.key))
    futures: dict[Future[Sha256], LayerRequest] = {}
    with crew.layers(ordered, cache_root) as submit:
        try:
            futures = {submit(request): request for request in ordered}
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        finally:
            for future in futures:
                future.cancel()
