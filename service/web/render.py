"""Pages from templates: what every page shows, and how times and sizes are written."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from manifests import __version__
from manifests.console import size
from service.state.build import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.core import Service

_NOTHING = "\N{EN DASH}"
_NAMES = 4


def page(
    template: str,
    service: Service,
    who: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """Return *template* with *values*, for *who* is logged in ("" for nobody)."""
    text = _TEMPLATES.get_template(template).render(
        who=who, has_store=service.store is not None, has_site=service.settings.site, **values
    )
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store", **(headers or {})})


def _when(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%H:%M:%S")


def _span(start: float | None, end: float | None) -> str:
    """Return how long it took; so far, where there is no *end*."""
    if start is None:
        return _NOTHING
    minutes, seconds = divmod(max(0, round((time.time() if end is None else end) - start)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _services(jobs: Sequence[tuple[str, str]]) -> str:
    """Return the names of the services, those of the first few."""
    names = list(dict.fromkeys(service for service, _ in jobs))
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("service.web"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({"when": _when, "clock": _clock, "bytes": size, "services": _services})
    environment.globals.update({"span": _span, "version": __version__, "states": [*State]})
    return environment


_TEMPLATES = _environment()
