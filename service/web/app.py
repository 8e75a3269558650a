"""The whole of it as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles

from manifests import __version__
from service.core import Service
from service.state.build import State
from service.web import builds, pages, pins, store
from service.web.access import Limiter, may_read, service_of
from service.web.metrics import Metrics
from service.web.middleware import Bounds, Observed
from service.web.models import Health
from service.web.pages import STATIC
from service.web.problems import READING, add_handlers, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DESCRIPTION = """\
Builds the artifacts of releases from their locks and publishes them, signed by the builders' keys.
What a release means is signed elsewhere, by release managers."""

_router = APIRouter(tags=["service"])


@_router.get("/health", responses=answers(503))
def health(service: Annotated[Service, Depends(service_of)]) -> Health:
    """Say that the service works and its database can be read. Needs no token."""
    counts = service.builds.counts()
    waiting, running = counts[State.QUEUED], counts[State.BUILDING] + counts[State.PUBLISHING]
    status = "stopping" if service.board.closing else "ok"
    return Health(status=status, version=__version__, waiting=waiting, running=running)


@_router.get("/metrics", response_class=PlainTextResponse, responses=READING)
def metrics(request: Request, _who: Annotated[str, Depends(may_read)]) -> PlainTextResponse:
    """Return figures for Prometheus."""
    figures: Metrics = request.app.state.metrics
    return PlainTextResponse(figures.text())


def make_app(service: Service) -> FastAPI:
    """Return the application that serves *service* and runs its builds while it is up."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.loop = asyncio.get_running_loop()
        tasks = [
            asyncio.create_task(service.foreman.work()),
            asyncio.create_task(service.retention.work()),
        ]
        try:
            yield
        finally:
            await service.foreman.stop(service.settings.grace)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="Venvoy build service",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts of other hosts
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.service = service
    app.state.limiter = Limiter(service.settings.rate)
    app.state.metrics = Metrics(service)
    add_handlers(app)
    for router in (_router, builds.router, pins.router, store.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Bounds, limit=service.settings.max_request)
    app.add_middleware(Observed, metrics=app.state.metrics)
    return app
