"""What of finished builds is kept, and for how long. Builds themselves are remembered for good."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.errors import StoreUnavailable
from service.running.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from service.running.logs import Logs
    from service.state.builds import Builds

_DAY = 86400.0
_INTERVAL = 3600.0


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Keeps logs and what was built for some days after the end of a build."""

    builds: Builds
    logs: Logs
    workspaces: Path
    log_days: float
    result_days: float
    clock: Callable[[], float] = time.time

    def clean(self) -> tuple[int, int]:
        """Remove what is too old; return how many logs and how many results."""
        now = self.clock()
        logs = sum(self.logs.remove(name) for name in self.builds.finished_before(now - self.log_days * _DAY))
        results = 0
        for name in self.builds.finished_before(now - self.result_days * _DAY):
            workspace = Workspace(self.workspaces, name)
            if workspace.folder.exists():
                workspace.remove()
                results += 1
        return logs, results

    async def work(self) -> None:
        """Clean now and then, until the task is cancelled."""
        while True:
            with contextlib.suppress(StoreUnavailable, OSError):
                await asyncio.to_thread(self.clean)
            await asyncio.sleep(_INTERVAL)
