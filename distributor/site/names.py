"""Names of others as file names and URLs of pages."""

from __future__ import annotations

from urllib.parse import quote


def page_name(text: str) -> str:
    """Return *text* as the name of one file: whatever it is, it stays in its folder and is not hidden."""
    name = quote(text, safe="+")
    return f"_{name}" if name.startswith(".") else name


def href(path: str) -> str:
    """Return *path* as a relative URL."""
    return quote(path, safe="/+")
