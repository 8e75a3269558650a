"""A machine's workers: Dask's own worker command with this machine's offers, started again as needed.

Dask ends a worker whose scheduler is gone. Here it is started again until somebody stops it, so that
a scheduler that comes back finds its workers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from builder.execution.address import Address
from builder.execution.offers import Offer
from builder.execution.remote import WORKSITE, Worksite
from builder.sandbox.cage import SandboxMode
from manifests.interpreter import Interpreter
from manifests.parent_death import end_with_parent

_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 20.0
_SCHEDULER_SECONDS = 60
# Dask looks at itself up to a hundred times a second, for its pages; idle workers cost a core's 7 % by that.
_CALM = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}


@dataclass(frozen=True, kw_only=True)
class Workers:
    """*jobs* worker processes with *interpreters*, caching in *cache*; *more* goes to Dask as it is.

    Code of sdists runs as *sandbox* says.
    """

    address: Address
    interpreters: Sequence[Interpreter]
    cache: Path
    jobs: int
    sandbox: SandboxMode = "auto"
    more: Sequence[str] = ()

    @property
    def offers(self) -> list[Offer]:
        """What these workers announce."""
        return [Offer.of(interpreter) for interpreter in self.interpreters]

    def command(self, scratch: Path) -> list[str]:
        """Return Dask's worker command, which may write in *scratch*.

        One thread a process: compiling does not share one.
        """
        resources = " ".join(f"{offer}=1" for offer in self.offers)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", self.address.url]
        words += ["--nworkers", str(self.jobs), "--nthreads", "1", "--memory-limit", "0"]
        words += ["--resources", resources, "--protocol", self.address.scheme]
        words += ["--local-directory", str(scratch), "--death-timeout", str(_SCHEDULER_SECONDS)]
        # Whoever reaches the pages of a worker reads its log; nobody proves there who they are.
        words += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        found = self.address.credentials
        if found is None:
            words += ["--host", "127.0.0.1" if self.address.host == "localhost" else self.address.host]
        else:
            words += ["--tls-ca-file", str(found.authority)]
            words += ["--tls-cert", str(found.certificate), "--tls-key", str(found.key)]
        return [*words, *self.more]

    def environment(self) -> dict[str, str]:
        """Return the environment of the workers: the caller's, where they work, and how often Dask looks."""
        pythons = {str(Offer.of(found)): found.executable for found in self.interpreters}
        site = Worksite(cache=self.cache, pythons=pythons, sandbox=self.sandbox)
        return {**_CALM, **os.environ, WORKSITE: site.to_environment()}

    def run(self, note: Callable[[str], None]) -> None:
        """Work until SIGTERM or SIGINT; *note* takes what there is to say."""
        stop = _StopSignals()
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="venvoy-worker-", ignore_cleanup_errors=True) as scratch:
            while not stop.asked:
                process = subprocess.Popen(
                    self.command(Path(scratch)),
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - no threads here
                )
                while process.poll() is None and not stop.asked:
                    stop.wait(_AGAIN_SECONDS)
                if stop.asked:
                    _end(process)
                else:
                    note(f"the workers ended (status {process.returncode}), starting them again")
                    stop.wait(_AGAIN_SECONDS)


class _StopSignals:
    """Turns SIGTERM and SIGINT into ``asked``."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def wait(self, seconds: float) -> None:
        """Sleep; a signal ends it early enough."""
        deadline = time.monotonic() + seconds
        while not self.asked and time.monotonic() < deadline:
            time.sleep(0.05)

    def _ask(self, *_: Any) -> None:
        self.asked = True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
