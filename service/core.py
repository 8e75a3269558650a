"""The service without HTTP: everything that works together in one process."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from distributor.places import read_root
from distributor.publishing.initialisation import ROOT_FILE
from distributor.publishing.repository import Repository
from distributor.stores.location import open_writable_store
from distributor.system.file_lock import hold_lock
from distributor.trust.roles import MAX_TIMESTAMP_BYTES, TIMESTAMP
from manifests.errors import NotFound, StoreUnavailable
from service.running.board import Board
from service.running.foreman import Foreman
from service.running.logs import Logs
from service.running.plan import Plan
from service.running.retention import Retention
from service.state.builds import Builds
from service.state.database import Database
from service.state.tokens import Tokens
from service.submission import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.interface import Store
    from manifests.pins import ReleasePins
    from service.settings import Settings


class Service:
    """What requests and builds share. Made by ``open_service``."""

    def __init__(self, settings: Settings, database: Database, plan: Plan) -> None:
        self.settings = settings
        self.database = database
        self.plan = plan
        self.builds = Builds(database)
        self.tokens = Tokens(database)
        self.logs = Logs(settings.logs)
        self.board = Board()
        self.rules = Rules(hosts=settings.hosts)
        self.store: Store | None = open_writable_store(settings.store) if settings.store else None
        self.foreman = Foreman(
            self.builds,
            self.logs,
            self.board,
            plan,
            workers=settings.workers,
            attempts=settings.attempts,
            timeout=settings.build_seconds,
        )
        self.retention = Retention(
            builds=self.builds,
            logs=self.logs,
            workspaces=settings.workspaces,
            log_days=settings.log_days,
            result_days=settings.result_days,
        )
        self._releases_lock = threading.Lock()
        self._releases: tuple[bytes, list[ReleasePins]] = (b"", [])

    def releases(self) -> list[ReleasePins]:
        """Return what is signed in the store, read anew when its timestamp changed.

        Raises NotFound without a store; VerificationFailed, StoreUnavailable.
        """
        if self.store is None:
            raise NotFound("this service has no store")
        with self._releases_lock:
            timestamp = self.store.read(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES)
            if timestamp != self._releases[0]:
                repository = Repository(
                    self.store,
                    {},
                    root=read_root(self.plan.keys / ROOT_FILE),
                    state_dir=self.settings.state / "seen",
                )
                self._releases = timestamp, repository.releases()
            return self._releases[1]


@contextlib.contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Give the service of *settings*, alone: raises Locked where another one has this state.

    What a killed one left at work waits again. Raises what the checks of Settings and Plan do, too.
    """
    plan = Plan(
        cache=settings.cache,
        workspaces=settings.workspaces,
        store=settings.store,
        keys=settings.keys,
        options=settings.build_options,
        site=settings.site,
    )
    settings.check()
    plan.check()
    try:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(settings.state, 0o700)  # noqa: PTH101 - inputs and logs may be confidential
        lock = hold_lock(settings.state / "lock", what=f"the service in {settings.state}", timeout=1.0)
        with lock, contextlib.closing(Database(settings.database)) as database:
            service = Service(settings, database, plan)
            service.builds.recover()
            yield service
    except OSError as error:
        raise StoreUnavailable(f"cannot use {settings.state}: {error.strerror}") from error
