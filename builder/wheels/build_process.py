"""Runs the processes of a build: clean environment, log file, time limit, and no stray children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.wheels.normalise import EPOCH
from manifests.errors import HostUnsuitable, VenvoyError
from manifests.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TAIL_LINES = 12
_TAIL_BYTES = 8192
_TAIL_SHOWN = 1600

# All that a build sees of the caller's environment. Everything else (tokens, AWS_*, VENVOY_*, CFLAGS
# of somebody's shell) is neither the build's business nor part of its key.
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_PASSED = (
    *_PROXIES,
    *(name.upper() for name in _PROXIES),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "PIP_TRUSTED_HOST",
    "NETRC",
    "CARGO_HOME",
    "RUSTUP_HOME",
)
# Where pip finds build requirements; an offline build has its folders instead.
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE")


def build_environment(folder: Path, *, offline: bool) -> dict[str, str]:
    """Return the environment of a build in *folder*: the same on every machine but for the allow-list.

    HOME and TMPDIR lie in *folder*; netrc stays reachable. pip's configuration files count only
    where PIP_CONFIG_FILE names one.
    """
    caller = os.environ
    names = _PASSED if offline else (*_PASSED, *_INDEXES)
    passed = {name: caller[name] for name in names if name in caller}
    netrc = Path(caller.get("HOME") or "/nonexistent") / ".netrc"
    if "NETRC" not in passed and netrc.is_file():
        passed["NETRC"] = str(netrc)
    # Debug information would name pip's randomly named folders, which no prefix map knows beforehand.
    flags = f"-ffile-prefix-map={folder}=. -g0"
    return {
        "PIP_CONFIG_FILE": os.devnull,
        **passed,
        "PATH": caller.get("PATH", os.defpath),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # pbr and setuptools_scm ask git; a repository that happens to hold our cache is none of theirs.
        "GIT_CEILING_DIRECTORIES": f"{folder}:{folder.resolve()}",
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "RUSTFLAGS": f"--remap-path-prefix={folder}=.",
    }


def git_environment(folder: Path) -> dict[str, str]:
    """Return the environment for git: as for builds, but with the caller's own git settings and keys."""
    kept = {
        name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME") if name in os.environ
    }
    return {**build_environment(folder, offline=False), **kept, "GIT_TERMINAL_PROMPT": "0"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One process of a build: *what* it does (for errors), and *log*, to which its output is added."""

    what: str
    command: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    timeout: float


class ProcessRunner:
    """Runs one command after the other in each thread; ``stop`` ends all of them."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

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
            status = self._wait(process, step.timeout)
        if self.stopped.is_set():
            raise VenvoyError(f"{step.what} was interrupted")
        if status is None:
            raise HostUnsuitable(f"{step.what} took more than {step.timeout:g} seconds; see {step.log}")
        if status != 0:
            raise HostUnsuitable(
                f"{step.what} failed (status {status}); its log {step.log} ends with:\n{_tail(step.log)}"
            )

    def stop(self) -> None:
        """Kill everything that runs, and let nothing start any more."""
        self.stopped.set()
        with self._lock:
            for process in self._running:
                _kill_group(process)

    def _wait(self, process: subprocess.Popen[bytes], timeout: float) -> int | None:
        with self._lock:
            self._running.add(process)
        finished = False
        try:
            if self.stopped.is_set():
                return None
            status = process.wait(timeout)
            finished = True
        except subprocess.TimeoutExpired:
            return None
        else:
            return status
        finally:
            with self._lock:
                self._running.discard(process)
            if not finished:
                _kill_group(process)
                process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:  # else its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return redacted("\n".join(lines[-_TAIL_LINES:])[-_TAIL_SHOWN:])
