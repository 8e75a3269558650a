"""What the service must not forget: builds, their order, tokens; in a database that processes share."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from manifests.documents import sha256_bytes
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable
from service.running.logs import MAX_LOG_BYTES, Logs
from service.running.plan import Plan, build_environment
from service.running.retention import Retention
from service.state.build import Inputs, State
from service.state.builds import Builds
from service.state.database import Database
from service.state.tokens import Scope, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = b"release = '1.0.0'\n"
DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(tmp_path / "state/service.sqlite")) as database:
        yield database


@pytest.fixture
def builds(database: Database, clock: Clock) -> Builds:
    return Builds(database, clock=clock)


def submit(builds: Builds, name: str, **options: Any) -> tuple[Any, bool]:
    return builds.submit(
        name,
        release="1.0.0",
        jobs=[("demo", "cp311-linux_x86_64-glibc2.36")],
        inputs=Inputs(spec=sha256_bytes(SPEC), locks={}, files={}),
        blobs={sha256_bytes(SPEC): SPEC},
        by="tests",
        **{"publish": False, "priority": 0, **options},
    )


def states(builds: Builds) -> dict[str, State]:
    return {build.id: build.state for build in builds.list()}


def test_equal_requests_join_and_may_want_more(builds: Builds) -> None:
    first, new = submit(builds, "a")
    assert new
    again, new = submit(builds, "a", publish=True, priority=7)
    assert not new
    assert (again.number, again.requests, again.publish, again.priority) == (first.number, 2, True, 7)
    assert not submit(builds, "a", priority=-7)[1]
    assert builds.get("a").priority == 7
    assert builds.content(sha256_bytes(SPEC)) == SPEC


def test_the_most_urgent_begins_and_then_the_oldest(builds: Builds, clock: Clock) -> None:
    for name, priority in (("a", 0), ("b", 0), ("c", 5)):
        submit(builds, name, priority=priority)
    order = []
    while (build := builds.claim()) is not None:
        assert build.state is State.BUILDING
        order.append(build.id)
    assert order == ["c", "a", "b"]
    builds.requeue("a", wait=10, error="down", counts=True)
    assert builds.claim() is None
    assert builds.next_time() == clock.now + 10
    clock.now += 10
    again = builds.claim()
    assert again is not None
    assert (again.id, again.attempts) == ("a", 1)


def test_what_was_built_is_published_only_if_somebody_wants_it(builds: Builds) -> None:
    submit(builds, "a")
    submit(builds, "b")
    builds.claim()
    builds.claim()
    submit(builds, "b", publish=True)  # while it is built
    assert builds.built("a", {"artifacts": []}).state is State.BUILT
    assert builds.built("b", {"artifacts": []}).state is State.PUBLISHING
    assert submit(builds, "a")[0].state is State.BUILT
    assert submit(builds, "a", publish=True)[0].state is State.QUEUED


def test_who_takes_over_finds_everything_that_was_accepted(builds: Builds) -> None:
    for name in ("waiting", "working", "publishing", "unwanted", "done"):
        submit(builds, name, publish=name == "publishing")
    for _ in range(5):
        builds.claim()
    builds.requeue("waiting", counts=False)
    builds.built("publishing", {})
    builds.cancel("unwanted")
    builds.finish("done", State.FAILED, error="no", exit_code=5)
    assert builds.recover() == 2
    assert states(builds) == {
        "waiting": State.QUEUED,
        "working": State.QUEUED,
        "publishing": State.QUEUED,
        "unwanted": State.CANCELLED,
        "done": State.FAILED,
    }
    assert builds.counts()[State.QUEUED] == 3


def test_who_asks_again_undoes_a_cancellation(builds: Builds) -> None:
    submit(builds, "a")
    builds.claim()
    assert builds.cancel("a").cancel
    build = submit(builds, "a")[0]
    assert (build.cancel, build.state) == (False, State.BUILDING)
    builds.requeue("a", counts=False)
    assert builds.cancel("a").state is State.CANCELLED
    with pytest.raises(Refused, match="cancelled already"):
        builds.cancel("a")
    assert builds.retry("a").state is State.QUEUED
    with pytest.raises(Refused, match="only what is finished is retried"):
        builds.retry("a")
    with pytest.raises(NotFound, match="no build zzz"):
        builds.retry("zzz")


def test_a_failure_in_mid_change_changes_nothing(builds: Builds, database: Database) -> None:
    submit(builds, "a")

    def fail() -> None:
        with database.changing() as connection:
            connection.execute("DELETE FROM builds")
            connection.execute("DELETE FROM elsewhere")

    with pytest.raises(StoreUnavailable, match="no such table"):
        fail()
    assert list(states(builds)) == ["a"]


def test_lists_are_paged(builds: Builds) -> None:
    for number in range(5):
        submit(builds, f"b{number}")
    first = builds.list(limit=2)
    assert [build.id for build in first] == ["b4", "b3"]
    assert [build.id for build in builds.list(limit=2, before=first[-1].number)] == ["b2", "b1"]
    assert builds.list(state=State.FAILED) == []
    assert len(builds.list(release="1.0.0", state=State.QUEUED)) == 5


def test_only_its_owner_reads_the_database(tmp_path: Path, database: Database) -> None:
    assert (tmp_path / "state/service.sqlite").stat().st_mode & 0o077 == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "state/service.sqlite")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(InvalidInput, match="has schema 99"):
        Database(tmp_path / "state/service.sqlite")
    (tmp_path / "other").write_bytes(b"not a database at all, but long enough to be taken for one" * 20)
    with pytest.raises(InvalidInput, match="is not a database of the service"):
        Database(tmp_path / "other")


def test_tokens_are_found_by_their_secret_while_they_are_good(database: Database, clock: Clock) -> None:
    tokens = Tokens(database, clock=clock)
    secret = tokens.add("ci", [Scope.READ, Scope.BUILD], days=1)
    found = tokens.find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("ci", {Scope.READ, Scope.BUILD})
    for wrong in ("", secret[:-1], secret + "x", "x" * 10_000, "\ud800"):
        assert tokens.find(wrong) is None
    with pytest.raises(Refused, match="there is a token 'ci' already"):
        tokens.add("ci", [Scope.READ])
    for name in ("", "-x", "a b", "x" * 65):
        with pytest.raises(InvalidInput):
            tokens.add(name, [Scope.READ])
    clock.now += DAY
    assert tokens.find(secret) is None
    tokens.revoke("ci")
    with pytest.raises(NotFound):
        tokens.revoke("ci")


def test_logs_go_on_where_a_reader_or_a_power_cut_left_off(tmp_path: Path, clock: Clock) -> None:
    logs = Logs(tmp_path / "logs", clock=clock)
    logs.say("a", "one")
    logs.say("a", "two\nlines, \ud800 and " + "x" * 10_000)
    first, second = logs.read("a")
    assert (first.text, first.time) == ("one", clock.now)
    assert second.text.startswith("two\nlines, ? and xxx")
    assert len(second.text) < 5000
    assert logs.read("a", first.position) == [second]
    assert logs.read("a", second.position) == logs.read("nothing") == []
    with logs.path("a").open("ab") as stream:
        stream.write(b'{"time": 1, "te')
    logs.say("a", "three")
    assert [line.text for line in logs.read("a", second.position)] == ["three"]
    with logs.path("a").open("ab") as stream:
        stream.truncate(MAX_LOG_BYTES - 10)
    logs.say("a", "the last one")
    size = logs.path("a").stat().st_size
    logs.say("a", "too much")
    assert logs.path("a").stat().st_size == size


def test_what_is_old_is_removed_and_what_runs_is_not(builds: Builds, clock: Clock, tmp_path: Path) -> None:
    logs = Logs(tmp_path / "logs", clock=clock)
    for name in ("old", "new", "running"):
        submit(builds, name)
        builds.claim()
        logs.say(name, "begun")
        (tmp_path / "builds" / name / "output").mkdir(parents=True)
    builds.finish("old", State.BUILT)
    clock.now += 5 * DAY
    builds.finish("new", State.FAILED, error="no", exit_code=1)
    retention = Retention(
        builds=builds,
        logs=logs,
        workspaces=tmp_path / "builds",
        log_days=10,
        result_days=4,
        clock=clock,
    )
    assert retention.clean() == (0, 1)
    assert sorted(path.name for path in (tmp_path / "builds").iterdir()) == ["new", "running"]
    clock.now += 6 * DAY
    assert retention.clean() == (1, 1)
    assert logs.read("running")
    assert not logs.read("old")
    assert builds.get("old").state is State.BUILT
    assert retention.clean() == (0, 0)


def test_a_build_knows_no_secret_of_publishing(tmp_path: Path) -> None:
    secrets = {
        "VENVOY_KEY_PASSPHRASE": "canary",
        "VENVOY_KEYS": "canary",
        "VENVOY_TOKEN": "canary",
        "VENVOY_STORE": "canary",
    }
    assert build_environment({"PATH": "/bin", **secrets}) == {"PATH": "/bin"}
    plan = Plan(cache=tmp_path, workspaces=tmp_path, store=None, keys=tmp_path)
    plan.check()
    with pytest.raises(NotFound, match="no key of artifacts, snapshot, timestamp"):
        Plan(cache=tmp_path, workspaces=tmp_path, store=str(tmp_path), keys=tmp_path).check()
