"""Templates become pages. Everything that a page shows of a store is escaped: names are others' to choose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from distributor.site.names import href, page_name
from manifests import __version__
from manifests.comparison_text import growth
from manifests.console import size
from manifests.documents import sha256_bytes

if TYPE_CHECKING:
    from distributor.site.model import SiteModel
    from manifests.documents import Sha256

_HERE = Path(__file__).parent
STATIC = ("site.css", "site.js", "icon.svg")


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """Renders the pages of *model*. *payload* is where the store lies, seen from the site's own folder.

    It is "" where pages cannot link to it.
    """

    model: SiteModel
    payload: str = "../"

    def render(self, template: str, path: str, **context: Any) -> bytes:
        """Return the page at *path* (in the site), made of *template*."""
        page = self._environment.get_template(template)
        up = "../" * path.count("/")
        text = page.render(root=up, payload=up + self.payload if self.payload else "", path=path, **context)
        return text.encode("utf-8")

    def static(self) -> dict[str, bytes]:
        """Return the files that all pages share, by path in the site."""
        return {f"static/{name}": (_HERE / "static" / name).read_bytes() for name in STATIC}

    @cached_property
    def digest(self) -> Sha256:
        """The digest of all templates: pages that were made of others are made anew."""
        files = [*sorted((_HERE / "templates").iterdir()), *sorted(_HERE.glob("*.py"))]
        return sha256_bytes(b"".join(file.read_bytes() for file in files))

    @cached_property
    def _environment(self) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "size": size,
            "growth": growth,
            "href": href,
            "short": short_target,
            "moment": moment,
        }
        environment.globals |= {
            "model": self.model,
            "tool": __version__,
            "percent": percent,
            "page_name": page_name,
        }
        return environment


def short_target(target: str) -> str:
    """Return *target* shorter for narrow columns: ``cp311 · x86_64 · glibc 2.36``."""
    python, _, rest = target.partition("-linux_")
    machine, _, libc = rest.rpartition("-")
    for name in ("glibc", "musl"):
        libc = libc.replace(name, f"{name} ")
    return f"{python} · {machine} · {libc}" if machine else target


def moment(text: str) -> str:
    """Return a time in ISO 8601 as people read it, in UTC; anything else as it stands."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def percent(part: float, whole: float) -> str:
    """Return *part* of *whole* in hundredths, for the length of a bar; what is there is seen."""
    if not whole or not part:
        return "0"
    return f"{max(0.8, min(100.0, 100 * part / whole)):.1f}"
