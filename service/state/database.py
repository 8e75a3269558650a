"""The service's database: SQLite, written ahead, durable at every commit.

One connection for the whole process, behind a lock: transactions are short. Other processes (the command
that hands out tokens) open the same file; SQLite keeps them apart.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_SECONDS = 30.0
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE builds (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    release TEXT NOT NULL,
    jobs TEXT NOT NULL,
    inputs TEXT NOT NULL,
    publish INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    cancel INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 1,
    submitted_by TEXT NOT NULL,
    submitted_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    error TEXT,
    exit_code INTEGER,
    result TEXT
);
CREATE INDEX builds_waiting ON builds (priority DESC, seq) WHERE state = 'queued';
CREATE INDEX builds_by_state ON builds (state, seq);
CREATE INDEX builds_by_release ON builds (release, seq);
CREATE INDEX builds_finished ON builds (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE blobs (sha256 TEXT NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL
);
"""


class Database:
    """The database in the file *path*, which is made where it lacks, readable by its owner alone.

    Raises StoreUnavailable where the disk fails, InvalidInput for a file of a newer Venvoy or of others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"cannot open the service's database {path}: {error}") from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise InvalidInput(f"{path} is not a database of the service: {error}") from None
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to read from. Raises StoreUnavailable where the database fails."""
        with self._lock, self._translated():
            yield self._connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction: all of it is on disk at the end, or nothing.

        Raises StoreUnavailable where the database fails.
        """
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the service's database {self.path} fails: {error}") from error

    def _prepare(self) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode only FULL brings each commit to disk before it is answered.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        connection.execute("COMMIT")
        if version not in (0, _SCHEMA_VERSION):
            raise InvalidInput(
                f"{self.path} has schema {version}, this Venvoy knows {_SCHEMA_VERSION}: use the newer one"
            )
