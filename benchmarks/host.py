"""Venvoy as a host has it: installed, with what a host needs and nothing else.

The environment of the tests and builds holds far more, and an import of a library looks for what it may
use besides: there an install starts 0.2 s later than on any host.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import BenchmarkError

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = ("venvoy.py", "pyproject.toml", "manifests", "distributor")
_REST = ("README.md", "LICENSE", "builder", "service")  # of the distribution, but of no host's commands


def host_part(place: Path, *, uv: Path, python: Path) -> Path:
    """Return the folder of commands of the environment *place*, made anew where the code changed.

    Raises BenchmarkError where it cannot be made.
    """
    stamp, state = place / "code.sha256", _state(python)
    commands = place / "bin"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == state:
        return commands
    _run(uv, "venv", "--quiet", "--clear", "--python", python, place)
    with tempfile.TemporaryDirectory(prefix="venvoy-sources-") as sources:
        # What setuptools builds beside its sources, it would find there the next time.
        for name in (*_SOURCES, *_REST):
            _copy(_ROOT / name, Path(sources) / name)
        _run(
            uv, "pip", "install", "--quiet", "--compile-bytecode",
            "--python", place / "bin/python", "--reinstall-package", "venvoy", f"{sources}[http]",
        )  # fmt: skip
    stamp.write_text(state, encoding="ascii")
    return commands


def host_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* without what would bring other code in."""
    return {name: value for name, value in environment.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}


def _copy(source: Path, copy: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "ansible"))
    else:
        shutil.copyfile(source, copy)


def _state(python: Path) -> str:
    digest = hashlib.sha256(os.fsencode(python))
    for name in _SOURCES:
        top = _ROOT / name
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"no environment like a host's could be made: {done.stderr.strip()[-500:]}")
