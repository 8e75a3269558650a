"""The crew of one machine: worker processes by default, any ``concurrent.futures.Executor`` if wanted."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.layers.cache import LayerCache
from builder.layers.layer import LayerRequest, build_layer
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable
from manifests.interpreter import Interpreter, find_interpreter
from manifests.parent_death import end_with_parent

if TYPE_CHECKING:
    from builder.execution.crew import Crew, Submit
    from builder.wheels.cache import WheelCache
    from builder.wheels.gathering import WheelBuilder
    from builder.wheels.sdist_build import BuildOptions
    from manifests.target import Target

_IN_PROCESS_BYTES = 3 * 1024 * 1024


def build_into(cache_root: Path, request: LayerRequest) -> Sha256:
    """Build one layer into the cache and return its key. Runs in a worker; everything it needs is here."""
    LayerCache(cache_root).build(request.key, functools.partial(build_layer, request))
    return request.key


@dataclass(frozen=True, kw_only=True)
class LocalCrew:
    """*jobs* worker processes for each batch of layers, or *executor*, which the caller ends.

    *warn* is told once for each builder of wheels where foreign code runs without a sandbox.
    """

    jobs: int = 1
    executor: Executor | None = None
    warn: Callable[[str], None] | None = None

    def interpreter(self, target: Target, explicit: Path | None) -> Interpreter | None:
        """Return this machine's interpreter for *target*, or None. Raises NotFound, HostUnsuitable."""
        return find_interpreter(target, explicit)

    @contextmanager
    def layers(self, requests: Sequence[LayerRequest], cache_root: Path) -> Iterator[Submit]:
        """Give worker processes, unless there is little to do. Raises HostUnsuitable where one dies."""
        owned = None if self.executor else self._executor(requests)
        executor = self.executor or owned

        def submit(request: LayerRequest) -> Future[Sha256]:
            if executor is None:
                raise AssertionError("one of the two is there")
            return executor.submit(build_into, cache_root, request)

        try:
            yield submit
        except BrokenProcessPool as error:
            raise HostUnsuitable(
                "a worker process died while it built layers (killed, or out of memory?); "
                "run the command again, with fewer --jobs if memory is short: what was built is kept"
            ) from error
        finally:
            if owned is not None:
                owned.shutdown(cancel_futures=True)

    def wheel_builder(
        self, cache: WheelCache, target: Target, interpreter: Interpreter | None, options: BuildOptions
    ) -> WheelBuilder:
        """Return what builds wheels with this machine's *interpreter*."""
        from builder.wheels.sdist_build import SdistBuilder

        return SdistBuilder(cache, target, interpreter, options, self.warn)

    def _executor(self, requests: Sequence[LayerRequest]) -> Executor:
        """Build a few small wheels right here: starting processes would cost more."""
        total = sum(request.wheel.stat().st_size for request in requests)
        if self.jobs == 1 or total < _IN_PROCESS_BYTES:
            return ThreadPoolExecutor(1)
        # A process with threads (downloads, a service's event loop) cannot be forked safely.
        method = "spawn" if threading.active_count() > 1 else "fork"
        return ProcessPoolExecutor(
            min(self.jobs, len(requests)),
            mp_context=multiprocessing.get_context(method),
            initializer=_prepare_worker,
            initargs=(os.getpid(),),
        )


def _prepare_worker(parent: int) -> None:
    """Die with the parent, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)


if TYPE_CHECKING:
    _: type[Crew] = LocalCrew
