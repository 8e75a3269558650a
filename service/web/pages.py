"""Pages for people: which builds there are, how one goes, what is in the store. They work without scripts."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from service.core import Service
from service.running.logs import LogLine
from service.state.build import FINISHED, State
from service.web.access import may_read, service_of
from service.web.builds import BuildId
from service.web.problems import READING, answers
from service.web.render import page

STATIC = FilePath(__file__).with_name("static")
_PAGE = 50
_LOG_LINES = 2000
Serving = Annotated[Service, Depends(service_of)]
Reader = Annotated[str, Depends(may_read)]

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@router.get("/", responses=READING)
def builds(
    service: Serving,
    who: Reader,
    state: Annotated[State | None, Query()] = None,
    release: Annotated[str | None, Query(max_length=200)] = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> HTMLResponse:
    """Show builds, newest first."""
    counts = service.builds.counts()
    found = service.builds.list(state=state, release=release, before=before, limit=_PAGE)
    return page(
        "builds.html",
        service,
        who,
        title="Builds",
        builds=[(build, service.board.progress(build.id)) for build in found],
        counts=counts,
        active=sum(count for item, count in counts.items() if not item.finished),
        state=state,
        release=release,
        before=before,
        more=found[-1].number if len(found) == _PAGE else None,
    )


@router.get("/builds/{build_id}", responses={**READING, **answers(404)})
def build(build_id: BuildId, service: Serving, who: Reader) -> HTMLResponse:
    """Show one build with its log."""
    found = service.builds.get(build_id)
    lines: list[LogLine] = []
    position = 0
    while len(lines) < _LOG_LINES and (part := service.logs.read(build_id, position)):
        lines += part
        position = part[-1].position
    return page(
        "build.html",
        service,
        who,
        title=f"Release {found.release}",
        build=found,
        result=found.result or {"artifacts": [], "files": []},
        progress=service.board.progress(build_id),
        lines=lines,
        position=position,
        live=found.state not in FINISHED,
    )


@router.get("/releases", responses={**READING, **answers(404)})
def releases(service: Serving, who: Reader) -> HTMLResponse:
    """Show what is signed in the store."""
    return page(
        "releases.html",
        service,
        who,
        title="Releases",
        releases=list(reversed(service.releases())),
    )
