"""Runs the processes of a build: clean environment, log file, time limit, and no stray children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.sandbox.limits import descendants
from builder.wheels.normalise import EPOCH
from manifests.errors import HostUnsuitable, VenvoyError
from manifests.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOOK_SECONDS = 0.3
_END_SECONDS = 3.0
_TAIL_LINES = 12
_TAIL_BYTES = 8192
_TAIL_SHOWN = 1600

# What our own tools (pip as it downloads, git) see of the caller's environment; code of an sdist sees
# less. Everything else (tokens, AWS_*, VENVOY_*, CFLAGS of somebody's shell) is neither the build's
# business nor part of its key.
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_NETWORK = (
    *_PROXIES,
    *(name.upper() for name in _PROXIES),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
)
_TOOLCHAINS = ("CARGO_HOME", "RUSTUP_HOME")
# Where pip finds build requirements, and what it shows there.
_INDEXES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CONFIG_FILE",
    "PIP_CERT",
    "PIP_TRUSTED_HOST",
    "NETRC",
)


def download_environment(folder: Path) -> dict[str, str]:
    """Return the environment for pip as it downloads: no foreign code runs in it.

    HOME and TMPDIR lie in *folder*; netrc stays reachable. pip's configuration files count only
    where PIP_CONFIG_FILE names one.
    """
    passed = _passed(*_NETWORK, *_INDEXES)
    netrc = Path(os.environ.get("HOME") or "/nonexistent") / ".netrc"
    if "NETRC" not in passed and netrc.is_file():
        passed["NETRC"] = str(netrc)
    return {"PIP_CONFIG_FILE": os.devnull, **passed, **_places(folder)}


def build_environment(folder: Path, *, network: bool) -> dict[str, str]:
    """Return the environment of foreign code that works in *folder*: the same on every machine.

    It holds no credentials. Proxies and certificates are passed on where it may use the *network*.
    """
    # Debug information would name randomly named folders, which no prefix map knows beforehand.
    flags = f"-ffile-prefix-map={folder}=. -g0"
    return {
        **_passed(*_TOOLCHAINS, *(_NETWORK if network else ())),
        **_places(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # pbr and setuptools_scm ask git; a repository that happens to hold our cache is none of theirs.
        "GIT_CEILING_DIRECTORIES": f"{folder}:{folder.resolve()}",
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "RUSTFLAGS": f"--remap-path-prefix={folder}=.",
    }


def readable_places(environment: Mapping[str, str]) -> list[Path]:
    """Return what *environment* names that must be seen where it is used: certificates, toolchains."""
    names = [*_NETWORK[2 * len(_PROXIES) :], "RUSTUP_HOME"]
    places = [Path(environment[name]) for name in names if environment.get(name)]
    if environment.get("CARGO_HOME"):
        places.append(Path(environment["CARGO_HOME"], "bin"))  # beside it lie credentials
    return [place for place in places if place.is_absolute()]


def _passed(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _places(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def git_environment(folder: Path) -> dict[str, str]:
    """Return the environment for git: as for builds, but with the caller's own git settings and keys."""
    kept = {
        name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME") if name in os.environ
    }
    return {**download_environment(folder), **kept, "GIT_TERMINAL_PROMPT": "0"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One process of a build: *what* it does (for errors), and *log*, to which its output is added.

    *watch*, called several times a second with the process's number, says in what it exceeds its
    limits; it is killed then.
    """

    what: str
    command: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    timeout: float
    watch: Callable[[int], str | None] | None = None


class ProcessRunner:
    """Runs one command after the other in each thread; ``stop`` ends all of them."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def run(self, step: Step) -> None:
        """Run *step* with umask 022. Raises HostUnsuitable with the log's last lines where it fails."""
        with step.log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    step.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=step.cwd,
                    env=step.environment,
                    umask=0o022,
                    start_new_session=True,
                )
            except OSError as error:
                raise HostUnsuitable(
                    f"{step.what}: {step.command[0]} cannot be run: {error.strerror}"
                ) from None
            status = self._wait(process, step)
        if self.stopped.is_set():
            raise VenvoyError(f"{step.what} was interrupted")
        if isinstance(status, str):
            raise HostUnsuitable(f"{step.what} {status}; see {step.log}")
        if status != 0:
            raise HostUnsuitable(
                f"{step.what} failed (status {status}); its log {step.log} ends with:\n{_tail(step.log)}"
            )

    def stop(self) -> None:
        """Have everything that runs killed, and let nothing start any more."""
        self.stopped.set()

    def _wait(self, process: subprocess.Popen[bytes], step: Step) -> int | str:
        """Return the exit status, or what the process did that it must not."""
        deadline = time.monotonic() + step.timeout
        try:
            while not self.stopped.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    return f"took more than {step.timeout:g} seconds"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(left, _LOOK_SECONDS))
                if step.watch is not None and (excess := step.watch(process.pid)) is not None:
                    return excess
            return "was stopped"
        finally:
            if process.returncode is None:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and what it started. Nothing of it writes any more on return.

    A sandbox's own process, which the kernel takes all others along with, is a child of what we
    started; that one ends when the last of them is gone. Hence the children go first.
    """
    for descendant in [*descendants(process.pid)][1:]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(descendant, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    if process.poll() is None:  # else its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    # What foreign code printed shall not steer the operator's terminal.
    text = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return redacted("\n".join(lines[-_TAIL_LINES:])[-_TAIL_SHOWN:])
