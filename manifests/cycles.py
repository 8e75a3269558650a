"""How often a process looks for cycles of objects."""

from __future__ import annotations

import gc


def look_for_cycles_seldom() -> None:
    """Let this process look for cycles at every 100,000 new objects instead of 700.

    Imports and documents make many objects and hardly any cycles: to look takes a tenth of the processor
    time of an install, and of a layer.
    """
    gc.set_threshold(100_000, 20, 20)
