"""The API of builds: submit, list, watch, cancel, retry, fetch what was built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from manifests.errors import NotFound, Refused
from service.core import Service
from service.running.workspace import Workspace
from service.state.build import State
from service.state.tokens import Scope
from service.submission import read_submission
from service.web.access import has_scope, may_build, may_read, service_of
from service.web.events import EVENT_SCHEMA, follow
from service.web.models import BuildList, BuildView, LogEntry, LogPart, Submission, build_view
from service.web.problems import CHANGING, READING, Forbidden, answers

if TYPE_CHECKING:
    from service.state.build import Build

BuildId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The build's id.", examples=["0" * 32])]
Serving = Annotated[Service, Depends(service_of)]
Reader = Annotated[str, Depends(may_read)]
Builder = Annotated[str, Depends(may_build)]
_PAGE = 50
_MAX_POSITION = 2**40

router = APIRouter(prefix="/api/v1/builds", tags=["builds"])


@router.post(
    "",
    status_code=201,
    responses={200: {"model": BuildView, "description": "An equal request joined this build."}, **CHANGING},
)
def submit(
    body: Submission, request: Request, response: Response, service: Serving, who: Builder
) -> BuildView:
    """Submit a release to be built.

    The build's id is a digest of all that decides it: equal requests are one build. Whoever asks again for
    what is done gets it; what failed or was cancelled is queued again.
    """
    if body.publish:
        if not has_scope(request, Scope.PUBLISH):
            raise Forbidden(f"token {who} has not the scope {Scope.PUBLISH.value}")
        if service.store is None:
            raise Refused("this service has no store to publish to")
    wanted = read_submission(
        body.spec,
        locks=body.locks,
        files=body.files,
        services=body.services,
        targets=body.targets,
        rules=service.rules,
    )
    build, new = service.builds.submit(
        wanted.id,
        release=wanted.release,
        jobs=wanted.jobs,
        inputs=wanted.inputs,
        blobs=wanted.blobs,
        publish=body.publish,
        priority=body.priority,
        by=who,
    )
    _told(request, build)
    if not new:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/builds/{build.id}"
    return _view(service, build)


@router.get("", responses=READING)
def list_builds(
    service: Serving,
    _who: Reader,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    release: Annotated[str | None, Query(max_length=200, description="Only those of this release.")] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**62, description="Only those with a lower number.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = _PAGE,
) -> BuildList:
    """List builds, newest first."""
    builds = service.builds.list(state=state, release=release, before=before, limit=limit)
    views = [build_view(build, service.board.progress(build.id), brief=True) for build in builds]
    return BuildList(builds=views, next=builds[-1].number if len(builds) == limit else None)


@router.get("/{build_id}", responses={**READING, **answers(404)})
def show(build_id: BuildId, service: Serving, _who: Reader) -> BuildView:
    """Show a build."""
    return _view(service, service.builds.get(build_id))


@router.get(
    "/{build_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": EVENT_SCHEMA}}, "description": "Events."},
        **READING,
        **answers(404),
    },
)
async def events(
    build_id: BuildId,
    request: Request,
    service: Serving,
    _who: Reader,
    after: Annotated[int, Query(ge=0, le=_MAX_POSITION, description="Only lines behind this position.")] = 0,
) -> StreamingResponse:
    """Follow a build by server-sent events until it is finished.

    ``build`` (the build, whenever it changed), ``log`` (a line; its id is the position behind it) and at
    last ``end``. A stream that ends without ``end`` was cut off: come back with ``Last-Event-ID``.
    """
    build = service.builds.get(build_id)
    known = request.headers.get("last-event-id", "")
    position = int(known) if known.isascii() and known.isdigit() and int(known) < _MAX_POSITION else after
    return StreamingResponse(
        follow(service, build, position),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/{build_id}/log", responses={**READING, **answers(404)})
def log(
    build_id: BuildId,
    service: Serving,
    _who: Reader,
    after: Annotated[int, Query(ge=0, le=_MAX_POSITION, description="Only lines behind this position.")] = 0,
) -> LogPart:
    """Read some of a build's log."""
    build = service.builds.get(build_id)
    lines = service.logs.read(build.id, after)
    return LogPart(
        lines=[LogEntry(position=line.position, time=line.time, text=line.text) for line in lines],
        next=lines[-1].position if lines else after,
    )


@router.post("/{build_id}/cancel", responses={**CHANGING, **answers(404, 409)})
async def cancel(build_id: BuildId, request: Request, service: Serving, _who: Builder) -> BuildView:
    """Cancel a build, for all who asked for it. One at work ends within seconds."""
    build = service.builds.cancel(build_id)
    await service.foreman.cancel(build.id)
    service.board.changed(build.id)
    return _view(service, service.builds.get(build_id))


@router.post("/{build_id}/retry", responses={**CHANGING, **answers(404, 409)})
def retry(build_id: BuildId, request: Request, service: Serving, _who: Builder) -> BuildView:
    """Build again what is finished, however it ended."""
    build = service.builds.retry(build_id)
    _told(request, build)
    return _view(service, build)


@router.get(
    "/{build_id}/files/{path:path}",
    response_class=FileResponse,
    responses={
        200: {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "description": "The file.",
        },
        206: {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "description": "A part of it.",
        },
        **READING,
        **answers(404, 416),
    },
)
def file(
    build_id: BuildId, path: Annotated[str, Path(max_length=1000)], service: Serving, _who: Reader
) -> FileResponse:
    """Fetch a file that was built; its length and sha256 stand in the build."""
    build = service.builds.get(build_id)
    known = {item["path"] for item in (build.result or {}).get("files", [])}
    where = Workspace(service.plan.workspaces, build.id).output / path
    if path not in known or not where.is_file():
        raise NotFound(
            f"build {build_id} has no file {path!r}, or no longer: build it again, or ask the store"
        )
    return FileResponse(where, media_type="application/octet-stream")


def _told(request: Request, build: Build) -> None:
    """Tell the foreman and the followers, on the event loop, that *build* changed."""
    service = service_of(request)
    loop = request.app.state.loop
    loop.call_soon_threadsafe(service.foreman.wake)
    loop.call_soon_threadsafe(service.board.changed, build.id)


def _view(service: Service, build: Build) -> BuildView:
    return build_view(build, service.board.progress(build.id))
