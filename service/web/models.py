"""What goes over the wire, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from service.state.build import State

if TYPE_CHECKING:
    from manifests.pins import ReleasePins
    from service.running.child import Progress
    from service.state.build import Build

_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_FileName = Annotated[str, StringConstraints(min_length=1, max_length=400)]
_EXAMPLE_SPEC = """\
release = "1.0.0"
targets = ["cp311-linux_x86_64-glibc2.36"]

[services.idna]
requirements = ["idna==3.11"]
"""
_EXAMPLE_LOCK = """\
lock-version = "1.0"
created-by = "venvoy"

[[packages]]
name = "idna"
version = "3.11"
wheels = [{ url = "https://files.example.org/idna-3.11-py3-none-any.whl", hashes = { sha256 = \
"771a87f49d9defaf64091e6e6fe9c18d4833f140bd19464795bc32d966ca37ea" } }]
"""
_EXAMPLE: JsonDict = {
    "spec": _EXAMPLE_SPEC,
    "locks": {"pylock.idna-cp311-linux_x86_64-glibc2_36.toml": _EXAMPLE_LOCK},
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why a request was not done. ``exit_code`` is what the command line would end with."""

    error: str
    exit_code: int = Field(ge=0, le=255)


class Submission(_Model):
    """A release to build: its spec, the locks that it needs, and the files that the spec names."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    spec: str = Field(max_length=1_000_000, description="The text of release.toml.")
    locks: dict[_FileName, str] = Field(
        description="Locks (PEP 751) by file name, one for each service and target.", max_length=1000
    )
    files: dict[_FileName, str] = Field(
        default_factory=dict,
        description="Files that build-constraints name, by their path beside the spec.",
        max_length=100,
    )
    services: list[_Name] = Field(
        default_factory=list, max_length=200, description="Build these services only."
    )
    targets: list[_Name] = Field(
        default_factory=list, max_length=20, description="Build for these targets instead of the spec's."
    )
    publish: bool = Field(
        default=False, description="Publish what is built; needs the scope publish.", strict=True
    )
    priority: int = Field(default=0, ge=-100, le=100, strict=True, description="Higher ones begin first.")


class Job(_Model):
    """One artifact: a service for a target."""

    service: str
    target: str


class ProgressView(_Model):
    """How far a build at work is."""

    stage: str
    done: int
    total: int
    note: str


class FileView(_Model):
    """A file that was built."""

    path: str
    length: int
    sha256: str


class BuildView(_Model):
    """A build. What was built stands in ``artifacts`` as ``venvoy build --json`` prints it."""

    id: str
    number: int
    release: str
    state: State
    publish: bool
    priority: int
    jobs: list[Job]
    requests: int
    attempts: int
    submitted_by: str
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    exit_code: int | None
    progress: ProgressView | None
    artifacts: list[dict[str, Any]]
    files: list[FileView]


class BuildList(_Model):
    """Some builds, newest first; ``next`` goes into ``before`` to get those that follow."""

    builds: list[BuildView]
    next: int | None


class LogEntry(_Model):
    """A line of a log, and the position behind it."""

    position: int
    time: float
    text: str


class LogPart(_Model):
    """Some lines of a log; ``next`` goes into ``after`` to get those that follow."""

    lines: list[LogEntry]
    next: int


class PinView(_Model):
    """What one service of a release means on one target."""

    service: str
    target: str
    version: str
    manifest: str
    sha256: str


class ReleaseView(_Model):
    """A release that is signed in the store."""

    release: str
    pins: list[PinView]


class ReleaseList(_Model):
    """All releases that are signed in the store."""

    releases: list[ReleaseView]


class Proposal(_Model):
    """What release managers signed elsewhere, as 'venvoy pin --propose' writes it; bytes in base64."""

    format: str = Field(max_length=20, examples=["1.0"])
    releases: str = Field(description="The signed metadata of the role releases.")
    documents: dict[_FileName, str] = Field(
        max_length=100, description="The documents that it newly names, by their path in the store."
    )


class Forwarded(_Model):
    """Releases and moves of channels that hosts see now, by path; none where they did before."""

    forwarded: list[str]


class Health(_Model):
    """How the service is."""

    status: str
    version: str
    waiting: int
    running: int


def build_view(build: Build, progress: Progress | None, *, brief: bool = False) -> BuildView:
    """Return *build* for the wire; in *brief*, for lists, without what was built."""
    result = {} if brief or build.result is None else build.result
    return BuildView(
        id=build.id,
        number=build.number,
        release=build.release,
        state=build.state,
        publish=build.publish,
        priority=build.priority,
        jobs=[Job(service=service, target=target) for service, target in build.jobs],
        requests=build.requests,
        attempts=build.attempts,
        submitted_by=build.submitted_by,
        submitted_at=_moment(build.submitted_at),
        started_at=None if build.started_at is None else _moment(build.started_at),
        finished_at=None if build.finished_at is None else _moment(build.finished_at),
        error=build.error,
        exit_code=build.exit_code,
        progress=None
        if progress is None
        else ProgressView(stage=progress.stage, done=progress.done, total=progress.total, note=progress.note),
        artifacts=result.get("artifacts", []),
        files=[FileView(**file) for file in result.get("files", [])],
    )


def release_view(release: ReleasePins) -> ReleaseView:
    """Return *release* for the wire."""
    return ReleaseView(
        release=release.release,
        pins=[
            PinView(
                service=pin.service,
                target=pin.target,
                version=pin.version,
                manifest=pin.manifest,
                sha256=pin.sha256,
            )
            for pin in release.pins
        ],
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
