"""One build as the service remembers it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class State(str, enum.Enum):
    """Where a build is.

    ::

        queued -> building -> publishing -> published
           ^          |            |
           |          +-> built    |           (nobody asked for its publication)
           +----------+------------+           (killed, or worth another try)
                      +-> failed, cancelled
    """

    QUEUED = "queued"
    BUILDING = "building"
    PUBLISHING = "publishing"
    BUILT = "built"
    PUBLISHED = "published"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Say whether nothing more happens unless somebody asks for it."""
        return self in FINISHED

    @property
    def at_work(self) -> bool:
        """Say whether a child process is working on it."""
        return self in AT_WORK


FINISHED = frozenset({State.BUILT, State.PUBLISHED, State.FAILED, State.CANCELLED})
AT_WORK = frozenset({State.BUILDING, State.PUBLISHING})


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files of a build by name, each as the sha256 of its bytes: spec, locks, and what the spec names."""

    spec: str
    locks: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build. Times are seconds since 1970; *jobs* are pairs of service and target.

    *requests* counts those who asked for it, *attempts* those that ended without a verdict: a killed
    worker, a store that was down. *result* is what ``venvoy build --json`` printed, with paths relative to
    the build's output, and the files there with their lengths and digests.
    """

    number: int
    id: str
    release: str
    jobs: tuple[tuple[str, str], ...]
    inputs: Inputs
    publish: bool
    priority: int
    state: State
    cancel: bool
    attempts: int
    not_before: float
    requests: int
    submitted_by: str
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    error: str | None
    exit_code: int | None
    result: dict[str, Any] | None
