"""What workers of a cluster run. Arguments and results are small; wheels and layers go through caches.

A worker has a place of its own (cache folder, interpreters), told to its process by the environment.
If its cache is the caller's, shared by NFS or on one machine, there is nothing to carry. Otherwise
both bring what the other lacks to a shared object store and fetch it from there.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.caching.place import cache_identity, default_cache
from builder.caching.usage import registered
from builder.execution.local import build_into
from builder.execution.offers import Offer
from builder.execution.share import Share, open_share
from builder.layers.cache import LayerCache
from builder.layers.layer import LayerRequest
from builder.sandbox.cage import SandboxMode, stricter
from builder.wheels.cache import WheelCache
from builder.wheels.download import Downloads
from builder.wheels.sdist_build import BuildOptions, SdistBuilder
from builder.wheels.sources import LockSource, WheelSource, open_source
from manifests.cycles import look_for_cycles_seldom
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable, NotFound, StoreUnavailable
from manifests.interpreter import Interpreter, find_interpreter, probe
from manifests.lock import LockedPackage
from manifests.target import Target

WORKSITE = "VENVOY_WORKSITE"
"""The environment variable that describes a worker's place, as JSON."""

_log = logging.getLogger(__name__)
_ONE_LAYER = threading.Lock()  # compile servers belong to one thread at a time


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How results come back: the caller's cache, by its identity, or the object store *share*."""

    cache: str
    share: str | None = None


@dataclass(frozen=True, kw_only=True)
class WheelOrder:
    """A wheel to build: of *package*, for *target*, with the interpreter that *offer* names."""

    package: LockedPackage
    target: Target
    offer: Offer
    options: BuildOptions


@dataclass(frozen=True, kw_only=True)
class BuiltWheel:
    """Which wheel came of an order: file name, digest, bytes."""

    name: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, kw_only=True)
class Worksite:
    """A worker's own place: its *cache*, and *pythons* by offer where the search is not to find them.

    Code of sdists runs as *sandbox* says, or as the build says where that is stricter.
    """

    cache: Path
    pythons: Mapping[str, Path] = field(default_factory=dict)
    sandbox: SandboxMode = "auto"

    def to_environment(self) -> str:
        """Return the value of ``VENVOY_WORKSITE`` that says this."""
        pythons = {offer: str(path) for offer, path in self.pythons.items()}
        return json.dumps({"cache": str(self.cache), "pythons": pythons, "sandbox": self.sandbox})

    @classmethod
    def from_environment(cls) -> Worksite:
        """Return this process's place; without ``VENVOY_WORKSITE`` the user's cache."""
        text = os.environ.get(WORKSITE)
        if text is None:
            return cls(cache=Path(os.environ.get("VENVOY_CACHE") or default_cache()))
        value = json.loads(text)
        pythons = {offer: Path(path) for offer, path in value["pythons"].items()}
        return cls(cache=Path(value["cache"]), pythons=pythons, sandbox=value["sandbox"])

    def interpreter(self, offer: Offer) -> Interpreter:
        """Return the interpreter that *offer* names. Raises HostUnsuitable where it is another by now."""
        path = self.pythons.get(str(offer))
        found = probe(path) if path is not None else find_interpreter(offer.target)
        if found is None or Offer.of(found) != offer:
            raise HostUnsuitable(
                f"the worker on {socket.gethostname()} was started for {offer} and has "
                f"{found or 'no such interpreter'} now; start it again"
            )
        return found

    def share_for(self, delivery: Delivery) -> Share | None:
        """Return what results travel through; None where both have one cache.

        Raises StoreUnavailable where the caches differ and no object store was named.
        """
        if cache_identity(self.cache) == delivery.cache:
            return None
        if delivery.share is None:
            raise StoreUnavailable(
                f"the worker on {socket.gethostname()} has another cache ({self.cache}) than the build; "
                "let both share one folder, or name an object store with --share s3://bucket/prefix"
            )
        return open_share(delivery.share)


@functools.cache
def _worksite() -> Worksite:
    look_for_cycles_seldom()  # as commands do; this process is Dask's
    return Worksite.from_environment()


@functools.lru_cache(maxsize=64)
def _interpreter(offer: Offer) -> Interpreter:
    return _worksite().interpreter(offer)


def build_layer_remotely(request: LayerRequest, offer: Offer, delivery: Delivery) -> Sha256:
    """Build one layer where this worker and the caller find it; return its key."""
    site = _worksite()
    share = site.share_for(delivery)
    cache = LayerCache(site.cache)
    with registered(site.cache):
        if cache.get(request.key) is None:
            wheel = _wheel(site, request, share)
            python = _interpreter(offer).executable if request.interpreter is not None else None
            with _ONE_LAYER:
                build_into(site.cache, replace(request, wheel=wheel, interpreter=python))
        if share is not None:
            share.put_layer(cache, request.key)
    return request.key


def build_wheel_remotely(order: WheelOrder, delivery: Delivery) -> BuiltWheel:
    """Build a wheel where this worker and the caller find it; return which one it is."""
    site = _worksite()
    share = site.share_for(delivery)
    cache = WheelCache(site.cache)
    options = replace(order.options, sandbox=stricter(site.sandbox, order.options.sandbox))
    builder = SdistBuilder(cache, order.target, _interpreter(order.offer), options, _log.warning)
    with registered(site.cache):
        if share is not None:
            share.get_sdist(cache, order.package)
        wheel = builder.cached(order.package)
        if wheel is None:
            with Downloads() as downloads:
                wheel = builder.build(order.package, _sources(order.options, downloads))
        if share is not None:
            share.put_wheel(wheel.path, wheel.sha256)
    return BuiltWheel(name=wheel.name, sha256=wheel.sha256, size=wheel.size)


def _wheel(site: Worksite, request: LayerRequest, share: Share | None) -> Path:
    cache = WheelCache(site.cache)
    name = request.wheel.name
    found = cache.get(request.wheel_sha256, name)
    if found is None and share is not None:
        found = share.get_wheel(cache, request.wheel_sha256, name)
    if found is None:
        raise NotFound(f"{name} is not in {share.label if share else site.cache}; run the build again")
    return found


def _sources(options: BuildOptions, downloads: Downloads) -> list[WheelSource]:
    """Return where this worker finds what a build needs; folders that only the caller has are left out."""
    places: list[WheelSource] = []
    for place in options.find_links:
        try:
            places.append(open_source(place, downloads))
        except NotFound as error:  # the sdist itself came from the caller's side
            _log.warning("%s: not used here", error)
    return places if options.offline else [*places, LockSource(downloads)]
