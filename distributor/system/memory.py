"""How this process treats memory that it frees."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def reuse_large_buffers(size: int) -> None:
    """Let buffers of up to *size* bytes be taken from memory that was freed before, as small ones are.

    By itself glibc gives each large one back at once, and the kernel clears every page of the next one
    anew, which is a tenth of the time of unpacking many layers (mallopt(3)). Counts for this process and
    those that it forks. Another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, size)
        mallopt(_M_TRIM_THRESHOLD, 2 * size)
