"""A connection to a Dask cluster, shaped like ``concurrent.futures``, that outlives what it talks to.

A lost worker's tasks are run again by the scheduler. A lost scheduler takes all tasks along: Dask
cancels their futures, and those that nobody here cancelled are submitted once more when it is back.
That is sound since all tasks are pure: their results are content-addressed, and the same again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from builder.execution.offers import Offer
from manifests.errors import HostUnsuitable, StoreUnavailable, VenvoyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from builder.execution.address import Address

_T = TypeVar("_T")
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_PAUSE_SECONDS = 0.25
_LOOK_SECONDS = 5.0
_WORKERS_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_MOST_ATTEMPTS = 5
"""How often a task is given to a cluster that fails over it, rather than in it."""


@dataclass(kw_only=True)
class _Task:
    """What to run, and *outer*, which the caller holds; *inner* is Dask's for the present attempt."""

    outer: Future[Any]
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    offer: Offer
    failures: int = 0
    inner: Any = None


class Cluster:
    """A cluster at *address*. *patience* is how many seconds a lost scheduler or worker is waited for."""

    def __init__(self, address: Address, *, patience: float = 300.0) -> None:
        self._address = address
        self._patience = patience
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._ending = threading.RLock()
        self._closing = threading.Event()
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._tasks: dict[int, _Task] = {}
        self._moved = time.monotonic()
        self._keeper: threading.Thread | None = None

    def offers(self, waiting: Callable[[], None] | None = None) -> list[Offer]:
        """Return what the present workers offer. Raises StoreUnavailable.

        Where there is no worker at all, *waiting* is called once, and a minute may pass: the workers of a
        scheduler that was started again take a while to come back.
        """
        deadline = time.monotonic() + _WORKERS_SECONDS
        found = self._offered()
        if not found and waiting is not None:
            waiting()
            while not found and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                found = self._offered()
        return found

    def _offered(self) -> list[Offer]:
        client = self._connected()
        try:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
        except OSError as error:
            raise self._unreachable(error) from error
        names = {name for worker in workers for name in worker["resources"]}
        return [offer for name in sorted(names) if (offer := Offer.parse(name)) is not None]

    def executor(self, offer: Offer) -> Executor:
        """Return an executor whose tasks run on workers that make *offer*."""
        return _ClusterExecutor(self, offer)

    def submit(self, offer: Offer, call: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Run ``call(*arguments)`` on a worker that makes *offer*.

        The future fails with what *call* raises, with StoreUnavailable where the scheduler stays away,
        and with HostUnsuitable where no worker makes the offer any more, or where workers die of it.
        """
        task = _Task(outer=Future(), call=call, arguments=arguments, offer=offer)
        with self._lock:
            self._tasks[id(task)] = task
            if self._keeper is None:
                self._moved = time.monotonic()
                self._keeper = threading.Thread(target=self._keep, name="cluster", daemon=True)
                self._keeper.start()
        task.outer.add_done_callback(lambda outer: self._forget(task, outer))
        self._queue.put(task)
        return task.outer

    def close(self) -> None:
        """Cancel what is left and hang up."""
        self._closing.set()
        with self._lock:
            left, keeper = list(self._tasks.values()), self._keeper
        for task in left:
            task.outer.cancel()
        self._queue.put(None)
        if keeper is not None:
            keeper.join()
        if self._client is not None:
            with contextlib.suppress(Exception):  # a scheduler that is gone must not hide the result
                self._client.close(timeout=_CLOSE_SECONDS)

    def _keep(self) -> None:
        """Hand out tasks; runs in a thread of its own, since it waits for lost schedulers."""
        while True:
            try:
                task = self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if task is None:
                return
            if task.outer.done():
                continue
            try:
                self._send(task)
            except VenvoyError as error:
                self._end(task, error=error)

    def _send(self, task: _Task) -> None:
        client = self._connected()
        resources = {str(task.offer): 1}
        try:
            inner = client.submit(task.call, *task.arguments, pure=False, resources=resources)
        except Exception:  # noqa: BLE001 - the connection broke this instant; Dask raises many kinds
            time.sleep(_PAUSE_SECONDS)
            self._queue.put(task)
            return
        task.inner = inner
        # Not Dask's own executor: its futures never end where fetching the answer fails.
        inner.add_done_callback(lambda done: self._settle(task, done))

    def _settle(self, task: _Task, inner: Any) -> None:
        """Pass on what became of an attempt. Runs in Dask's thread for callbacks."""
        from distributed import CancelledError, KilledWorker

        self._moved = time.monotonic()
        try:
            result = inner.result(timeout=_ANSWER_SECONDS)
        except CancelledError:
            self._queue.put(task)  # with its scheduler; or by our caller, which _keep sees
        except VenvoyError as error:
            self._end(task, error=error)
        except Exception as error:  # noqa: BLE001 - a worker died of it, or the answer was lost with one
            task.failures += 1
            if task.failures < _MOST_ATTEMPTS:
                self._queue.put(task)  # what was done is not done again
            elif isinstance(error, KilledWorker):
                message = f"workers at {self._address.url} keep dying over one task (out of memory?): {error}"
                self._end(task, error=HostUnsuitable(" ".join(message.split())))
            else:
                self._end(task, error=error)
        else:
            self._end(task, result)

    def _look(self) -> None:
        """Give up on tasks that no worker can take, when nothing has moved for long."""
        with self._lock:
            waiting = list(self._tasks.values())
        if not waiting or time.monotonic() - self._moved < self._patience:
            return
        try:
            offered = set(self.offers())
        except VenvoyError as error:
            for task in waiting:
                self._end(task, error=error)
            return
        for task in waiting:
            if task.offer not in offered:
                message = f"no worker at {self._address.url} offers {task.offer} any more; start one"
                self._end(task, error=HostUnsuitable(message))

    def _end(self, task: _Task, result: Any = None, *, error: BaseException | None = None) -> None:
        with self._ending:  # giving up and a late answer may come at the same time
            if task.outer.done() or not task.outer.set_running_or_notify_cancel():
                return
            if error is not None:
                task.outer.set_exception(error)
            else:
                task.outer.set_result(result)

    def _forget(self, task: _Task, outer: Future[Any]) -> None:
        with self._lock:
            self._tasks.pop(id(task), None)
        if outer.cancelled() and task.inner is not None:
            with contextlib.suppress(Exception):  # the connection is gone, and the task with it
                task.inner.cancel()

    def _connected(self) -> Client:
        """Return a client that is connected, waiting for the scheduler. Raises StoreUnavailable."""
        deadline = time.monotonic() + self._patience
        while True:
            client = self._client
            if client is not None and client.status == "running":
                return client
            try:
                if client is None or client.status == "closed":
                    self._client = _dial(self._address)
                    continue
            except (OSError, ValueError) as error:
                if self._keeper is None or self._closing.is_set() or time.monotonic() > deadline:
                    raise self._unreachable(error) from error
            if self._closing.is_set() or time.monotonic() > deadline:
                raise self._unreachable(TimeoutError("it did not come back"))
            time.sleep(_PAUSE_SECONDS)

    def _unreachable(self, error: Exception) -> StoreUnavailable:
        reason = " ".join(str(error).split()) or type(error).__name__
        return StoreUnavailable(f"the cluster's scheduler at {self._address.url} cannot be reached: {reason}")


class _ClusterExecutor(Executor):
    def __init__(self, cluster: Cluster, offer: Offer) -> None:
        self._cluster = cluster
        self._offer = offer

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        if kwargs:
            raise TypeError("tasks of a cluster take positional arguments")
        return self._cluster.submit(self._offer, fn, *args)


def _dial(address: Address) -> Client:
    """Return a new client of the scheduler at *address*. Raises OSError or ValueError.

    In a thread that nobody waits for at the end: a client whose making is interrupted (Ctrl-C) takes twenty
    seconds to hang up.
    """
    from distributed import Client

    _quieten()
    made: Future[Client] = Future()

    def make() -> None:
        try:
            client = Client(
                address.url, security=address.security(), timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            made.set_exception(error)
        else:
            made.set_result(client)

    threading.Thread(target=make, name="dial", daemon=True).start()
    return made.result()


def _quieten() -> None:
    """Let Dask not log lost connections: what comes of them is said here, once it is known.

    Dask sets its loggers' levels when it is imported, hence this comes after.
    """
    if not os.environ.get("VENVOY_DEBUG"):
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
