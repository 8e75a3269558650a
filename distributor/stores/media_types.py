"""What kind of content an object is, for whoever reads a store over HTTP; browsers must know of pages."""

from __future__ import annotations

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".zst": "application/zstd",
}


def media_type(path: str) -> str:
    """Return the media type of the object *path*, by its name (RFC 2046, RFC 9239)."""
    return next(
        (kind for ending, kind in _KINDS.items() if path.endswith(ending)), "application/octet-stream"
    )
