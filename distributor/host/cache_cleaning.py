"""Cleaning the host's cache: layers beyond a limit, and shared files that no venv holds any more."""

from __future__ import annotations

from pathlib import Path

from distributor.layers.cache import LayerCache
from distributor.layers.linking import forget_unused


def clean_cache(cache: Path, limit: int, *, dry_run: bool) -> int:
    """Keep *limit* bytes of layers below *cache*, and no shared file that is unused. Raises OSError.

    Returns the bytes freed, or with *dry_run* those that would be.
    """
    return LayerCache(cache).shrink(limit, dry_run=dry_run) + forget_unused(cache, dry_run=dry_run)
