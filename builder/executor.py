"""Where layers are built: any ``concurrent.futures.Executor``; worker processes by default."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from builder.layers.cache import LayerCache
from builder.layers.layer import LayerRequest, build_layer
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable

_PR_SET_PDEATHSIG = 1
_IN_PROCESS_BYTES = 3 * 1024 * 1024


def build_into(cache_root: Path, request: LayerRequest) -> Sha256:
    """Build one layer into the cache and return its key. Runs in a worker; everything it needs is here."""
    LayerCache(cache_root).build(request.key, functools.partial(build_layer, request))
    return request.key


def build_layers(
    requests: Iterable[LayerRequest],
    cache_root: Path,
    *,
    jobs: int,
    done: Callable[[LayerRequest], None],
    executor: Executor | None = None,
) -> None:
    """Build all *requests*; *done* is called after each, in any order.

    A few small wheels are built right here, since starting workers would cost more. The first error
    ends the work: what has not begun is cancelled, what was built stays in the cache. Raises
    HostUnsuitable where a worker process dies.
    """
    # Long jobs first, so that no worker starts a large one when the others are done.
    ordered = sorted(requests, key=lambda request: (-request.wheel.stat().st_size, request.key))
    if executor is None and (jobs == 1 or sum(r.wheel.stat().st_size for r in ordered) < _IN_PROCESS_BYTES):
        for request in ordered:
            build_into(cache_root, request)
            done(request)
        return
    owned = executor or _worker_processes(min(jobs, len(ordered)))
    futures: dict[Future[Sha256], LayerRequest] = {}
    try:
        futures = {owned.submit(build_into, cache_root, request): request for request in ordered}
        for future in as_completed(futures):
            future.result()
            done(futures[future])
    except BrokenProcessPool as error:
        raise HostUnsuitable(
            "a worker process died while it built layers (killed, or out of memory?); "
            "run the command again, with fewer --jobs if memory is short: what was built is kept"
        ) from error
    finally:
        for future in futures:
            future.cancel()
        if executor is None:
            owned.shutdown(cancel_futures=True)


def _worker_processes(jobs: int) -> ProcessPoolExecutor:
    # A process with threads (downloads, a service's event loop) cannot be forked safely.
    method = "spawn" if threading.active_count() > 1 else "fork"
    return ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context(method),
        initializer=_prepare_worker,
        initargs=(os.getpid(),),
    )


def _prepare_worker(parent: int) -> None:
    """Die with the parent, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
