"""One run of ``uv pip compile``: its command line, its environment, and what its failures mean."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VenvoyError
from manifests.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from manifests.target import Target

# The floors that uv knows, as minor versions of glibc 2.
_GLIBC_FLOORS = (17, 28, *range(31, 41))
_MACHINES = ("x86_64", "aarch64")
_MUSL = (1, 2)

# What of the caller's uv settings reaches uv: where packages come from, how they are reached, and
# where uv keeps things. Whatever else changes a resolution belongs in the release spec.
_PASSED = frozenset(
    {
        "UV_CACHE_DIR",
        "UV_DEFAULT_INDEX",
        "UV_EXCLUDE_NEWER",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_GITHUB_TOKEN",
        "UV_HTTP_CONNECT_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INDEX",
        "UV_INDEX_STRATEGY",
        "UV_INDEX_URL",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_LINK_MODE",
        "UV_NATIVE_TLS",
        "UV_NO_CACHE",
        "UV_OFFLINE",
        "UV_PRERELEASE",
        "UV_PYTHON_INSTALL_DIR",
        "UV_REQUEST_TIMEOUT",
        "UV_SYSTEM_CERTS",
    }
)
_PASSED_PREFIXES = ("UV_INDEX_", "UV_CONCURRENT_")

_OFFLINE = ("network was disabled", "Network connectivity is disabled", "is unavailable offline")
_NO_SOLUTION = "No solution found"
_GONE = ("client error (404", "client error (410", "couldn't find remote ref", "failed to find branch")
_NETWORK = (
    "Failed to fetch",
    "error sending request",
    "Request failed after",
    "HTTP status",
    "dns error",
    "timed out",
    "unable to access",
    "Could not resolve host",
    "Connection re",
)
# Older uv draws a tree: a multiplication sign, lines and an arrow.
_DECORATION = " \t\u00d7\u2502\u2570\u2500\u25b6\u251c"
_MAX_LINES = 12
_MAX_TEXT = 2000


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """What one run of uv is given. ``shown`` maps local paths to what the operator knows them as."""

    label: str
    uv: str
    directory: Path
    requirements: Path
    output: Path
    target: Target
    constraints: tuple[Path, ...] = ()
    build_constraints: tuple[Path, ...] = ()
    upgrade: bool = False
    offline: bool = False
    default_index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    timeout: int = 1800
    shown: Mapping[str, str]


def find_uv() -> str:
    """Return uv's executable. Raises NotFound. Not for threads: sysconfig, used by it, is not safe there."""
    try:
        import uv

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError):
        raise NotFound("uv is not installed; install it with: pip install 'venvoy[build]'") from None


def compile_requirements(job: Compilation) -> None:
    """Resolve ``job.requirements`` into the lock ``job.output``.

    Versions that the output holds already are preferred, unless ``job.upgrade``. Raises
    InvalidInput where the requirements cannot be met, StoreUnavailable where index, network or
    time failed; each carries uv's own words.
    """
    try:
        done = subprocess.run(
            _command(job),
            cwd=job.directory,
            env=_environment(os.environ, job),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=job.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StoreUnavailable(f"{job.label}: uv did not finish within {job.timeout} s; try again") from None
    except OSError as error:
        raise NotFound(f"{job.label}: uv cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise failure(job.label, _plain(done.stderr, job.shown), done.returncode)


def uv_platform(target: Target) -> str:
    """Return the greatest floor that uv can resolve for and *target* includes.

    Raises InvalidInput naming what uv cannot resolve for.
    """
    if target.abi_flags:
        raise InvalidInput(f"{target}: uv cannot lock for free-threaded Python; drop the 't'")
    if target.machine not in _MACHINES:
        raise InvalidInput(
            f"{target}: uv cannot lock for the machine {target.machine!r}, only for {' and '.join(_MACHINES)}"
        )
    if target.libc == "musl":
        if target.libc_version < _MUSL:
            raise InvalidInput(f"{target}: uv cannot lock for a musl older than 1.2")
        return f"{target.machine}-unknown-linux-musl"
    floors = [minor for minor in _GLIBC_FLOORS if (2, minor) <= target.libc_version]
    if not floors:
        raise InvalidInput(f"{target}: uv cannot lock for a glibc older than 2.17")
    return f"{target.machine}-manylinux_2_{floors[-1]}"


def failure(label: str, stderr: str, returncode: int) -> VenvoyError:
    """Return the error that uv's *stderr* amounts to."""
    words = _meaningful(stderr) or f"uv ended with status {returncode} and said nothing"
    if any(sign in stderr for sign in _OFFLINE):
        return StoreUnavailable(f"{label}: not everything is in uv's cache, and the network is off: {words}")
    if _NO_SOLUTION in stderr:
        return InvalidInput(f"{label}: {words} Correct the requirements or the constraints.")
    if any(sign in stderr for sign in _NETWORK) and not any(sign in stderr for sign in _GONE):
        return StoreUnavailable(f"{label}: {words}; check the network and the index, then try again")
    return InvalidInput(f"{label}: {words}")


def _command(job: Compilation) -> list[str]:
    major, minor = job.target.python
    command = [
        job.uv,
        *("pip", "compile", str(job.requirements)),
        *("--output-file", str(job.output)),
        *("--format", "pylock.toml", "--no-header"),
        *("--python-version", f"{major}.{minor}"),
        *("--python-platform", uv_platform(job.target)),
        # Files and settings beside the spec or in the home directory must not change a lock, and
        # neither must the [tool.uv] of a project that is fetched.
        *("--no-config", "--no-sources", "--no-python-downloads"),
        *("--color", "never", "--no-progress"),
    ]
    for path in job.constraints:
        command += ["--constraints", str(path)]
    for path in job.build_constraints:
        command += ["--build-constraints", str(path)]
    if job.upgrade:
        command.append("--upgrade")
    if job.offline:
        command.append("--offline")
    return command


def _environment(outer: Mapping[str, str], job: Compilation) -> dict[str, str]:
    environment = {
        name: value
        for name, value in outer.items()
        if not name.startswith("UV_") or name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    # By environment and not by option: an index URL may hold a password, and other users can read
    # the options of a process.
    if job.default_index is not None:
        environment.pop("UV_INDEX_URL", None)
        environment["UV_DEFAULT_INDEX"] = job.default_index
    if job.extra_indexes:
        environment["UV_INDEX"] = " ".join(job.extra_indexes)
    environment["GIT_TERMINAL_PROMPT"] = "0"
    return environment


def _plain(stderr: str, shown: Mapping[str, str]) -> str:
    for path in sorted(shown, key=len, reverse=True):
        stderr = stderr.replace(path, shown[path])
    return redacted(stderr)


def _meaningful(stderr: str) -> str:
    """Return uv's error as one line: from its first ``error:`` on, without decoration."""
    lines = [line.strip(_DECORATION) for line in stderr.splitlines()]
    starts = [
        number for number, line in enumerate(lines) if line.startswith(("error:", _NO_SOLUTION, "Failed to"))
    ]
    chosen = [line for line in lines[starts[0] if starts else 0 :] if line and not line.startswith("---")]
    words = [line.removeprefix("error:").removeprefix("cause:").strip() for line in chosen[:_MAX_LINES]]
    text = ": ".join(dict.fromkeys(word.rstrip(":") for word in words)).replace(".: ", ". ")
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ..."
