"""The crew of a Dask cluster: each target is built by workers that offer its interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from builder.caching.place import cache_identity
from builder.execution.cluster import Cluster
from builder.execution.offers import Offer, choose_offer
from builder.execution.remote import Delivery, WheelOrder, build_layer_remotely, build_wheel_remotely
from builder.execution.share import open_share
from builder.layers.cache import LayerCache
from builder.layers.layer import LayerRequest
from builder.wheels.cache import CachedWheel, WheelCache
from builder.wheels.sdist_build import BuildOptions, SdistBuilder
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable, StoreUnavailable, VenvoyError
from manifests.interpreter import Interpreter, probe
from manifests.target import Target

if TYPE_CHECKING:
    from builder.execution.address import Address
    from builder.execution.crew import Crew, Submit
    from builder.wheels.gathering import WheelBuilder
    from builder.wheels.sources import WheelSource
    from manifests.lock import LockedPackage

_TRANSFERS = 64


class ClusterCrew:
    """Workers at *address*. *share* names an object store where they do not share the caller's cache.

    Use it as a context; *patience* is how many seconds it waits for a lost scheduler. *note* is told what it
    waits for.
    """

    def __init__(
        self,
        address: Address,
        *,
        share: str | None = None,
        patience: float = 300.0,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._cluster = Cluster(address, patience=patience)
        self._address = address
        self._share = share
        self._note = note
        self._chosen: dict[Target, Offer] = {}

    def __enter__(self) -> ClusterCrew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.close()

    def interpreter(self, target: Target, explicit: Path | None) -> Interpreter | None:
        """Return the interpreter of the workers that build *target*, with the version of *explicit* if given.

        Raises StoreUnavailable where the scheduler cannot be reached, HostUnsuitable where no worker
        builds for *target*: an artifact that lacks its compiled files by accident is another one.
        """
        version = probe(explicit).version if explicit is not None else None
        offers = self._cluster.offers(self._waiting)
        chosen = choose_offer(offers, target, version)
        if chosen is None:
            wanted = f"{target} with Python {version}" if version else str(target)
            found = ", ".join(map(str, offers)) or "nothing"
            raise HostUnsuitable(
                f"no worker at {self._address.url} builds for {wanted}; they offer {found}: "
                "run 'venvoy worker' on a machine that has this Python"
            )
        self._chosen[target] = chosen
        return chosen.interpreter

    @contextmanager
    def layers(self, requests: Sequence[LayerRequest], cache_root: Path) -> Iterator[Submit]:
        """Give the means to build *requests* on the workers. Raises what workers raise."""
        delivery = Delivery(cache=cache_identity(cache_root), share=self._share)
        executors = {
            target: self._cluster.executor(self._offer(target)) for target in {r.target for r in requests}
        }

        def send(request: LayerRequest) -> Future[Sha256]:
            offer = self._offer(request.target)
            return executors[request.target].submit(build_layer_remotely, request, offer, delivery)

        if self._share is None:
            yield send
        else:
            with _carrying(self._share, cache_root, send) as submit:
                yield submit

    def wheel_builder(
        self, cache: WheelCache, target: Target, interpreter: Interpreter | None, options: BuildOptions
    ) -> WheelBuilder:
        """Return what has wheels built by workers."""
        return _ClusterWheels(self, cache, target, interpreter, options)

    def build_wheel(self, order: WheelOrder, cache: WheelCache) -> CachedWheel:
        """Have a wheel built and bring it into *cache*. Raises what the worker raises."""
        share = open_share(self._share) if self._share else None
        if share is not None:
            share.put_sdist(cache, order.package)
        delivery = Delivery(cache=cache_identity(cache.root), share=self._share)
        built = self._cluster.executor(order.offer).submit(build_wheel_remotely, order, delivery).result()
        path = cache.get(built.sha256, built.name, size=built.size)
        if path is None and share is not None:
            path = share.get_wheel(cache, built.sha256, built.name)
        if path is None:
            raise StoreUnavailable(f"{built.name} was built and did not reach {cache.root}; run it again")
        return CachedWheel(name=built.name, sha256=built.sha256, path=path, size=built.size)

    def stop(self) -> None:
        """Let go of everything that was handed out."""
        self._cluster.close()

    def _waiting(self) -> None:
        if self._note is not None:
            self._note(f"there are no workers at {self._address.url} yet; waiting for them")

    def _offer(self, target: Target) -> Offer:
        if target not in self._chosen:
            self.interpreter(target, None)
        return self._chosen[target]


class _ClusterWheels:
    """A ``WheelBuilder`` whose wheels are made by workers; their keys are the same as anywhere."""

    def __init__(
        self,
        crew: ClusterCrew,
        cache: WheelCache,
        target: Target,
        interpreter: Interpreter | None,
        options: BuildOptions,
    ) -> None:
        self._crew = crew
        self._cache = cache
        self._target = target
        self._interpreter = interpreter
        self._options = options
        self._keys = SdistBuilder(cache, target, interpreter, options)

    def cached(self, package: LockedPackage) -> CachedWheel | None:
        """Return the wheel that an earlier build gave, or None."""
        return self._keys.cached(package)

    def build(self, package: LockedPackage, sources: Sequence[WheelSource]) -> CachedWheel:
        """Have *package* built by a worker, with its source from the caller's *sources* where possible."""
        key = self._keys.key(package)
        if self._interpreter is None:
            raise VenvoyError("a key needs an interpreter")
        self._keys.fetch_source(package, sources)
        order = WheelOrder(
            package=package, target=self._target, offer=Offer.of(self._interpreter), options=self._options
        )
        wheel = self._crew.build_wheel(order, self._cache)
        self._cache.note_built(key, wheel)
        return wheel

    def stop(self) -> None:
        """Wait for no worker any more; the caller was interrupted."""
        self._crew.stop()


@contextmanager
def _carrying(
    location: str, cache_root: Path, send: Callable[[LayerRequest], Future[Sha256]]
) -> Iterator[Submit]:
    """Let wheels go out before each task, and its layer come in after it."""
    share, wheels, layers = open_share(location), WheelCache(cache_root), LayerCache(cache_root)

    def carry(request: LayerRequest) -> Sha256:
        if not share.has_layer(request.key):
            path = wheels.get(request.wheel_sha256, request.wheel.name) or request.wheel
            share.put_wheel(path, request.wheel_sha256)
            send(request).result()
        if not share.get_layer(layers, request.key):
            raise StoreUnavailable(f"the layer of {request.wheel.name} did not reach {share.label}")
        return request.key

    pool = ThreadPoolExecutor(_TRANSFERS)
    try:
        yield lambda request: pool.submit(carry, request)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


if TYPE_CHECKING:
    _: tuple[type[Crew], type[WheelBuilder]] = (ClusterCrew, _ClusterWheels)
