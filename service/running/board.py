"""Who wants to know of which build, and how far those at work are. Lives on the event loop alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.running.child import Progress


class Board:
    """Wakes those who follow a build whenever something of it changed."""

    def __init__(self) -> None:
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._progress: dict[str, Progress] = {}
        self.closing = False

    @property
    def followers(self) -> int:
        """How many follow a build just now."""
        return sum(len(events) for events in self._followers.values())

    def progress(self, build_id: str) -> Progress | None:
        """Return how far a build is, where that is known."""
        return self._progress.get(build_id)

    def advance(self, build_id: str, progress: Progress | None) -> None:
        """Note how far a build is, and tell its followers."""
        if progress is None:
            self._progress.pop(build_id, None)
        else:
            self._progress[build_id] = progress
        self.changed(build_id)

    def changed(self, build_id: str) -> None:
        """Wake the followers of a build."""
        for event in self._followers.get(build_id, ()):
            event.set()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closing = True
        for events in self._followers.values():
            for event in events:
                event.set()

    @contextlib.contextmanager
    def following(self, build_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the build changed; who waits for it clears it."""
        event = asyncio.Event()
        self._followers.setdefault(build_id, set()).add(event)
        try:
            yield event
        finally:
            followers = self._followers[build_id]
            followers.discard(event)
            if not followers:
                del self._followers[build_id]
