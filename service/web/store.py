"""The store over HTTP, to read: hosts may name it, and what is signed in it is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response, StreamingResponse

from distributor.site.building import SITE
from distributor.stores.server import byte_range, cache_control
from manifests.errors import InvalidInput, NotFound
from service.core import Service
from service.web.access import may_read, service_of
from service.web.models import ReleaseList, release_view
from service.web.problems import READING, answers, problem

if TYPE_CHECKING:
    from distributor.stores.interface import Store

Serving = Annotated[Service, Depends(service_of)]
Reader = Annotated[str, Depends(may_read)]
ObjectPath = Annotated[
    str, Path(max_length=1000, description="The object's path.", examples=["metadata/timestamp.json"])
]
_NAME_MAX = 255
_PAGES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": _BYTES, "description": "The object."},
    206: {"content": _BYTES, "description": "A part of it."},
    **READING,
    **answers(404, 416),
}

router = APIRouter(tags=["store"])


@router.get("/api/v1/releases", responses={**READING, **answers(404)})
def releases(service: Serving, _who: Reader) -> ReleaseList:
    """List the releases that are signed in the store, and what they pin."""
    return ReleaseList(releases=[release_view(release) for release in service.releases()])


@router.get("/store/{path:path}", response_class=Response, responses=_ANSWERS)
def read_object(path: ObjectPath, request: Request, service: Serving, _who: Reader) -> Response:
    """Read an object of the store, or a range of it. Hosts verify what they get, wherever it comes from."""
    return _object(path, request, _store(service))


@router.head("/store/{path:path}", response_class=Response, responses=_ANSWERS)
def look_at_object(path: ObjectPath, request: Request, service: Serving, _who: Reader) -> Response:
    """Say how long an object is."""
    return _object(path, request, _store(service))


def _store(service: Service) -> Store:
    if service.store is None:
        raise NotFound("this service has no store")
    return service.store


def _kind(path: str) -> str:
    """Return the media type of an object: pages about the store are for browsers, all else is bytes."""
    kind = _PAGES.get(path.rpartition(".")[2]) if path.startswith(SITE) else None
    return kind or "application/octet-stream"


def _can_be_there(path: str) -> bool:
    """Say whether a file may have this name at all; a store on disk would fail for the others."""
    return max(len(part.encode("utf-8", "surrogatepass")) for part in path.split("/")) <= _NAME_MAX


def _object(path: str, request: Request, store: Store) -> Response:
    try:
        size = store.size(path) if _can_be_there(path) else None
    except InvalidInput:
        size = None
    if size is None:
        raise NotFound(f"the store has no object {path!r}")
    headers = {"Cache-Control": cache_control(path), "Accept-Ranges": "bytes"}
    wanted = request.headers.get("range") if request.method == "GET" else None
    part = byte_range(wanted, size) if wanted else None
    if part is not None and part[0] >= part[1]:
        return problem(416, f"{path!r} has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    start, stop = part or (0, size)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    kind = _kind(path)
    if request.method == "HEAD" or start == stop:
        return Response(None, 200, headers, kind)
    chunks = store.stream(path, offset=start, length=stop - start)
    return StreamingResponse(chunks, 200 if part is None else 206, headers, kind)
