"""Builds in the database: what is asked for, what is next, what came of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import zstandard

from manifests.errors import NotFound, Refused, StoreUnavailable
from service.state.build import AT_WORK, FINISHED, Build, Inputs, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from service.state.database import Database

_MAX_BLOB_BYTES = 64 * 1024 * 1024
_AGAIN = ("failed", "cancelled")


class Builds:
    """All builds in *database*. Every change is on disk when a method returns."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def submit(  # noqa: PLR0913 - what a request says
        self,
        build_id: str,
        *,
        release: str,
        jobs: Sequence[tuple[str, str]],
        inputs: Inputs,
        blobs: Mapping[str, bytes],
        publish: bool,
        priority: int,
        by: str,
    ) -> tuple[Build, bool]:
        """Take a request in; return its build, and whether it is a new one.

        Equal inputs are one build: a request joins what waits, runs or is done, brings what failed or was
        cancelled into the queue again, and may add that it be published, or a higher priority.
        """
        with self._database.changing() as connection:
            known = _row(connection, build_id)
            if known is None:
                _store_blobs(connection, blobs)
                connection.execute(
                    "INSERT INTO builds (id, release, jobs, inputs, publish, priority, state, submitted_by, "
                    "submitted_at) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?)",
                    (
                        build_id,
                        release,
                        json.dumps(list(jobs)),
                        json.dumps({"spec": inputs.spec, "locks": inputs.locks, "files": inputs.files}),
                        publish,
                        priority,
                        by,
                        self._clock(),
                    ),
                )
            else:
                connection.execute(
                    "UPDATE builds SET requests = requests + 1, publish = max(publish, ?), "
                    "priority = max(priority, ?) WHERE id = ?",
                    (publish, priority, build_id),
                )
                unpublished = known["state"] == State.BUILT and publish
                if known["state"] in _AGAIN or unpublished or known["cancel"]:
                    _queue(connection, build_id)
            return _build(_known(connection, build_id)), known is None

    def get(self, build_id: str) -> Build:
        """Return the build. Raises NotFound."""
        with self._database.reading() as connection:
            return _build(_known(connection, build_id))

    def list(
        self,
        *,
        state: State | None = None,
        release: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Build]:
        """Return the newest builds first, those with a *number* below *before* where it is given."""
        wanted = {"state = ?": state.value if state else None, "release = ?": release, "seq < ?": before}
        given = {text: value for text, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT * FROM builds {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608 - our own texts
                (*given.values(), limit),
            )
            return [_build(row) for row in rows]

    def counts(self) -> dict[State, int]:
        """Return how many builds are in each state."""
        with self._database.reading() as connection:
            found = dict(connection.execute("SELECT state, count(*) FROM builds GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in State}

    def content(self, sha256: str) -> bytes:
        """Return the bytes of one input. Raises StoreUnavailable where the database lost them."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT data FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise StoreUnavailable(f"the service's database lost an input, sha256 {sha256}")
        return zstandard.ZstdDecompressor().decompress(row[0], max_output_size=_MAX_BLOB_BYTES)

    def claim(self) -> Build | None:
        """Return the next build that may begin, now ``building``, or None where nothing waits."""
        with self._database.changing() as connection:
            now = self._clock()
            row = connection.execute(
                "SELECT id FROM builds WHERE state = 'queued' AND not_before <= ? "
                "ORDER BY priority DESC, seq LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE builds SET state = 'building', started_at = ?, finished_at = NULL, error = NULL, "
                "exit_code = NULL WHERE id = ?",
                (now, row["id"]),
            )
            return _build(_known(connection, row["id"]))

    def next_time(self) -> float | None:
        """Return when the first of those that wait may begin, or None where none waits."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT min(not_before) FROM builds WHERE state = 'queued'").fetchone()
        return None if found[0] is None else float(found[0])

    def built(self, build_id: str, result: dict[str, Any]) -> Build:
        """Note what was built; the build is ``publishing`` now, or finished where nobody wants that."""
        with self._database.changing() as connection:
            connection.execute(
                "UPDATE builds SET result = ?, state = CASE publish WHEN 1 THEN 'publishing' ELSE 'built' "
                "END, finished_at = CASE publish WHEN 1 THEN NULL ELSE ? END, attempts = 0 WHERE id = ?",
                (json.dumps(result), self._clock(), build_id),
            )
            return _build(_known(connection, build_id))

    def finish(
        self, build_id: str, state: State, *, error: str | None = None, exit_code: int | None = None
    ) -> Build:
        """Note the end of a build."""
        with self._database.changing() as connection:
            connection.execute(
                "UPDATE builds SET state = ?, finished_at = ?, error = ?, exit_code = ?, cancel = 0, "
                "attempts = 0 WHERE id = ?",
                (state.value, self._clock(), error, exit_code, build_id),
            )
            return _build(_known(connection, build_id))

    def requeue(self, build_id: str, *, wait: float = 0.0, error: str | None = None, counts: bool) -> Build:
        """Let a build begin again in *wait* seconds; where it *counts*, as one more attempt that failed."""
        with self._database.changing() as connection:
            connection.execute(
                "UPDATE builds SET state = 'queued', not_before = ?, error = ?, attempts = attempts + ? "
                "WHERE id = ?",
                (self._clock() + wait, error, counts, build_id),
            )
            return _build(_known(connection, build_id))

    def cancel(self, build_id: str) -> Build:
        """Cancel what waits; mark what is at work, for its worker to be ended. Raises NotFound, Refused."""
        with self._database.changing() as connection:
            build = _build(_known(connection, build_id))
            if build.state in FINISHED:
                raise Refused(f"build {build_id} is {build.state.value} already; there is nothing to cancel")
            if build.state is State.QUEUED:
                connection.execute(
                    "UPDATE builds SET state = 'cancelled', finished_at = ? WHERE id = ?",
                    (self._clock(), build_id),
                )
            else:
                connection.execute("UPDATE builds SET cancel = 1 WHERE id = ?", (build_id,))
            return _build(_known(connection, build_id))

    def retry(self, build_id: str) -> Build:
        """Bring a finished build into the queue again. Raises NotFound, Refused where it is not finished."""
        with self._database.changing() as connection:
            build = _build(_known(connection, build_id))
            if build.state not in FINISHED:
                raise Refused(f"build {build_id} is {build.state.value}; only what is finished is retried")
            _queue(connection, build_id)
            return _build(_known(connection, build_id))

    def recover(self) -> int:
        """Take up what a service that was killed left: return how many builds wait again.

        What was to be cancelled is.
        """
        with self._database.changing() as connection:
            connection.execute(
                "UPDATE builds SET state = 'cancelled', finished_at = ?, cancel = 0 "
                "WHERE state IN ('building', 'publishing') AND cancel = 1",
                (self._clock(),),
            )
            states = tuple(state.value for state in AT_WORK)
            changed = connection.execute(
                "UPDATE builds SET state = 'queued', not_before = 0 WHERE state IN (?, ?)", states
            )
            return changed.rowcount

    def finished_before(self, moment: float) -> Iterable[str]:
        """Return the builds that finished before *moment*, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id FROM builds WHERE finished_at < ? "
                "AND state NOT IN ('queued', 'building', 'publishing') ORDER BY finished_at",
                (moment,),
            ).fetchall()
        return [row["id"] for row in rows]


def _row(connection: sqlite3.Connection, build_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute("SELECT * FROM builds WHERE id = ?", (build_id,)).fetchone()
    return row


def _known(connection: sqlite3.Connection, build_id: str) -> sqlite3.Row:
    row = _row(connection, build_id)
    if row is None:
        raise NotFound(f"there is no build {build_id}")
    return row


def _queue(connection: sqlite3.Connection, build_id: str) -> None:
    """Let a build begin anew, or go on where it is at work and was to be cancelled."""
    connection.execute(
        "UPDATE builds SET state = 'queued', finished_at = NULL WHERE id = ? "
        "AND state NOT IN ('building', 'publishing')",
        (build_id,),
    )
    connection.execute(
        "UPDATE builds SET cancel = 0, attempts = 0, not_before = 0, error = NULL, exit_code = NULL "
        "WHERE id = ?",
        (build_id,),
    )


def _store_blobs(connection: sqlite3.Connection, blobs: Mapping[str, bytes]) -> None:
    compressor = zstandard.ZstdCompressor(level=9)
    for sha256, data in blobs.items():
        connection.execute(
            "INSERT OR IGNORE INTO blobs (sha256, data) VALUES (?, ?)", (sha256, compressor.compress(data))
        )


def _build(row: sqlite3.Row) -> Build:
    inputs = json.loads(row["inputs"])
    return Build(
        number=row["seq"],
        id=row["id"],
        release=row["release"],
        jobs=tuple((service, target) for service, target in json.loads(row["jobs"])),
        inputs=Inputs(spec=inputs["spec"], locks=inputs["locks"], files=inputs["files"]),
        publish=bool(row["publish"]),
        priority=row["priority"],
        state=State(row["state"]),
        cancel=bool(row["cancel"]),
        attempts=row["attempts"],
        not_before=row["not_before"],
        requests=row["requests"],
        submitted_by=row["submitted_by"],
        submitted_at=row["submitted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        error=row["error"],
        exit_code=row["exit_code"],
        result=json.loads(row["result"]) if row["result"] else None,
    )
