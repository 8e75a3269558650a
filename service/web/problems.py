"""From errors to answers: ``{"error": TEXT, "exit_code": NUMBER}`` for all of them, and a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from manifests.errors import (
    HostUnsuitable,
    InvalidInput,
    Locked,
    NotFound,
    Refused,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)
from service.web.models import Problem
from service.web.render import page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from fastapi.responses import Response

_SHOWN = 5
_STATUS: dict[type[VenvoyError], int] = {
    InvalidInput: 422,
    VerificationFailed: 422,
    HostUnsuitable: 422,
    NotFound: 404,
    Locked: 409,
    Refused: 409,
    StoreUnavailable: 503,
}
_USAGE = InvalidInput.exit_code
_PAGES = ("/", "/releases")


class _Answered(Refused):
    """An error that is an HTTP status of its own."""

    status: ClassVar[int]

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's head says of it."""
        return {}


class Unauthorized(_Answered):
    """No token, or a bad one."""

    status = 401

    def __init__(self, text: str, *, basic: bool) -> None:
        super().__init__(text)
        self._basic = basic

    @property
    def headers(self) -> dict[str, str]:
        """How to say who one is."""
        kind = 'Basic realm="venvoy", charset="UTF-8"' if self._basic else 'Bearer realm="venvoy"'
        return {"WWW-Authenticate": kind}


class Forbidden(_Answered):
    """A good token that may not do this."""

    status = 403


class TooMany(_Answered):
    """More requests than allowed."""

    status = 429

    def __init__(self, text: str, *, wait: int) -> None:
        super().__init__(text)
        self._wait = wait

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, in seconds."""
        return {"Retry-After": str(self._wait)}


def problem(
    status: int, error: str, exit_code: int = _USAGE, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the answer that says *error*."""
    body = Problem(error=error, exit_code=exit_code)
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of errors for an operation of the OpenAPI document."""
    return {
        status: {"model": Problem, "description": _DESCRIPTIONS[status], **_HEADERS.get(status, {})}
        for status in statuses
    }


_DESCRIPTIONS = {
    400: "The request's body cannot be read.",
    401: "No token, or not a good one.",
    403: "The token has not the scope that this needs.",
    404: "There is nothing of that name.",
    409: "Not in this state.",
    413: "The request is too large.",
    416: "There are no such bytes.",
    422: "The request cannot be accepted as it is.",
    429: "Too many requests.",
    503: "The database, the store or the disk fails; try again.",
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"headers": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}},
    429: {"headers": {"Retry-After": {"required": True, "schema": {"type": "string"}}}},
}
READING = answers(401, 403, 422, 429, 503)
CHANGING = answers(400, 401, 403, 413, 422, 429, 503)


def add_handlers(app: FastAPI) -> None:
    """Have *app* answer all errors alike."""
    app.add_exception_handler(VenvoyError, _venvoy)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _answer(
    request: Request,
    status: int,
    error: str,
    exit_code: int = _USAGE,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return what says *error*: a page to a browser that asked for one, else JSON."""
    path = request.url.path
    for_people = path in _PAGES or path.startswith("/builds/")
    if not for_people or "text/html" not in request.headers.get("accept", ""):
        return problem(status, error, exit_code, headers)
    title = "Not found" if status == 404 else "Not possible"
    service = request.app.state.service
    return page("error.html", service, "", status=status, headers=headers, title=title, error=error)


async def _venvoy(request: Request, error: Exception) -> Response:
    if not isinstance(error, VenvoyError):
        raise error
    if isinstance(error, _Answered):
        return _answer(request, error.status, str(error), error.exit_code, error.headers)
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _answer(request, _STATUS[kind], str(error), error.exit_code)
    return _answer(request, 500, str(error), error.exit_code)


async def _invalid(request: Request, error: Exception) -> Response:
    """Say which fields are wrong, without repeating what they hold."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    texts = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found[:_SHOWN]]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    text = "; ".join(texts).encode("utf-8", "replace").decode()
    return _answer(request, 422, text + more)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return problem(405, "this is not done here", _USAGE, {"Allow": ", ".join(_methods(request))})
    code = NotFound.exit_code if error.status_code == 404 else _USAGE
    return _answer(request, error.status_code, str(error.detail), code, error.headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes at this path; the framework names those of the first one."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)
