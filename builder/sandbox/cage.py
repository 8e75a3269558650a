"""Where untrusted code runs: in bubblewrap where it works, else with limits alone, which is said."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from builder.sandbox.bubblewrap import bubblewrap_command
from builder.sandbox.limits import BuildLimits
from manifests.errors import Refused

SandboxMode = Literal["auto", "require", "off"]
"""``auto`` takes what there is, ``require`` refuses to run without, ``off`` does without."""

# Beyond every distribution's users, where systemd puts users that live as long as a service.
_FIRST_USER, _USERS = 61184, 4336
_PROBE_SECONDS = 20
_LIMITS = BuildLimits()


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What to run inside, in *cwd*; it may write in *folder*, and sees *readable* besides the system."""

    command: Sequence[str]
    folder: Path
    cwd: Path
    readable: Sequence[Path] = ()
    network: bool = False
    limits: BuildLimits = _LIMITS


class Cage(Protocol):
    """What stands round a build."""

    @property
    def warning(self) -> str | None:
        """What an operator must know of it, or None."""

    def enter(self, folder: Path) -> None:
        """Hand *folder* and all in it to whoever will run there. Call it before foreign code ever ran."""

    def command(self, errand: Errand) -> list[str]:
        """Return the command line that runs *errand* inside."""


@dataclass(frozen=True, kw_only=True)
class BubblewrapCage:
    """Own file system, processes and network; another user where we are root."""

    user: int | None
    warning: str | None = None

    def enter(self, folder: Path) -> None:
        """Give *folder* to the build's user."""
        if self.user is None:
            return
        os.chown(folder, self.user, self.user)
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(parent, name), self.user, self.user, follow_symlinks=False)  # noqa: PTH118

    def command(self, errand: Errand) -> list[str]:
        """Return a bubblewrap command line."""
        # The folder is the other user's alone: only as that user can one go there.
        inner = [*errand.limits.rlimits(), *self._as_user(), "env", f"--chdir={errand.cwd}", *errand.command]
        return bubblewrap_command(
            inner,
            writable=[errand.folder],
            readable=errand.readable,
            network=errand.network,
            as_root=self.user is not None,
        )

    def _as_user(self) -> list[str]:
        if self.user is None:
            return []
        user = str(self.user)
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--"]


@dataclass(frozen=True, kw_only=True)
class OpenCage:
    """Limits alone: code runs as we do and sees what we see."""

    warning: str | None

    def enter(self, folder: Path) -> None:
        """Change nothing: it is ours and stays so."""

    def command(self, errand: Errand) -> list[str]:
        """Return *errand* under the kernel's limits, where ``prlimit`` is there to set them."""
        bounds = errand.limits.rlimits() if shutil.which("prlimit") else []
        return [*bounds, "env", f"--chdir={errand.cwd}", *errand.command]


def stricter(one: SandboxMode, other: SandboxMode) -> SandboxMode:
    """Return what satisfies both."""
    order: tuple[SandboxMode, ...] = ("off", "auto", "require")
    return max(one, other, key=order.index)


def choose_cage(mode: SandboxMode) -> Cage:
    """Return a cage for one build. Raises Refused where a sandbox is required and cannot be had."""
    lacking = "it was switched off" if mode == "off" else _lacking()
    if lacking is None:
        # A user of its own, so that the kernel counts this build's processes and no other's.
        return BubblewrapCage(user=_FIRST_USER + secrets.randbelow(_USERS) if os.geteuid() == 0 else None)
    if mode == "require":
        raise Refused(f"code of an sdist would run without a sandbox: {lacking}; install bubblewrap")
    who = "root" if os.geteuid() == 0 else "you"
    return OpenCage(
        warning=f"code of sdists runs as {who} without a sandbox, can read what {who} can and reach the "
        f"network: {lacking}; install bubblewrap, or refuse such builds with --sandbox require"
    )


@functools.cache
def _lacking() -> str | None:
    """Say why there is no sandbox here; None where there is one. Tried once, for real."""
    tools = ("bwrap", "prlimit", *(("setpriv",) if os.geteuid() == 0 else ()))
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        return f"{' and '.join(absent)} not found"
    cage = BubblewrapCage(user=_FIRST_USER if os.geteuid() == 0 else None)
    probe = cage.command(Errand(command=["true"], folder=Path("/usr"), cwd=Path("/")))
    probe = ["--ro-bind" if word == "--bind" else word for word in probe]
    try:
        done = subprocess.run(
            probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here ({error})"
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
        return f"bubblewrap does not work here ({said or f'status {done.returncode}'})"
    return None
