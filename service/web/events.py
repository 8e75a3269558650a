"""Server-sent events of one build (WHATWG HTML, 9.2): the build whenever it changed, and its log."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from service.web.models import build_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.core import Service
    from service.state.build import Build

EVENT_SCHEMA = {
    "type": "object",
    "description": "One event: data is JSON, a build, a line of its log, or its last state.",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["build", "log", "end"]},
        "id": {"type": "string", "description": "The log's position behind this line."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""What the OpenAPI document says of each event."""

_HEARTBEAT_SECONDS = 15.0
_PAUSE_SECONDS = 0.1


async def follow(service: Service, build: Build, position: int) -> AsyncIterator[str]:
    """Yield the events of *build* from the log's *position* on, the last one ``end``.

    Where the service stops, the stream ends without it.
    """
    shown = ""
    with service.board.following(build.id) as changed:
        while True:
            changed.clear()
            build = service.builds.get(build.id)
            view = build_view(build, service.board.progress(build.id), brief=not build.state.finished)
            while lines := await asyncio.to_thread(service.logs.read, build.id, position):
                for line in lines:
                    value = {"time": line.time, "text": line.text}
                    yield _event("log", json.dumps(value), line.position)
                position = lines[-1].position
            if (text := view.model_dump_json()) != shown:
                shown = text
                yield _event("build", text)
            if build.state.finished:
                yield _event("end", json.dumps({"state": build.state.value}))
                return
            if service.board.closing:
                return
            try:
                await asyncio.wait_for(changed.wait(), _HEARTBEAT_SECONDS)
            except asyncio.TimeoutError:
                yield ": still here\n\n"
            else:
                await asyncio.sleep(_PAUSE_SECONDS)  # what comes in bursts goes out together


def _event(kind: str, data: str, position: int | None = None) -> str:
    """Return one event. *data* is JSON, and so on one line."""
    identity = "" if position is None else f"id: {position}\n"
    return f"event: {kind}\n{identity}data: {data}\n\n"
