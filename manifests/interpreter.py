"""Python interpreters: what one is, found out by running it once, and where to look for one.

Builders need the target's interpreter to compile and to build sdists; hosts need one to bind a venv
to. Only the standard library is used here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import HostUnsuitable, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from manifests.target import Target

# ``json`` costs the child 8 ms, a third of the whole probe; its C encoder for strings is free.
# Before 3.11 a venv's interpreter does not know its base without ``site``: pyvenv.cfg does.
_PROBE = r"""
import sys, os
try:
    from _json import encode_basestring_ascii as q
except ImportError:
    from json.encoder import py_encode_basestring_ascii as q
exe = getattr(sys, "_base_executable", None) or sys.executable
prefix = sys.base_prefix
try:
    with open(os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "pyvenv.cfg")) as f:
        for line in f:
            key, _, value = line.partition("=")
            if key.strip() == "home" and value.strip():
                if os.path.dirname(sys.executable) == os.path.dirname(exe):
                    name = "python%d.%d%s" % (sys.version_info[:2] + (sys.abiflags,))
                    exe = os.path.join(value.strip(), name)
except OSError:
    pass
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, OSError):
    libc = ""
v = sys.version_info
stage = {"alpha": "a", "beta": "b", "candidate": "rc", "final": ""}[v[3]]
rows = {
    "implementation": sys.implementation.name,
    "executable": os.path.realpath(exe),
    "version": "%d.%d.%d" % v[:3] + (stage and stage + str(v[4])),
    "abi_flags": sys.abiflags,
    "machine": os.uname()[4],
    "bits": "64" if sys.maxsize > 2**32 else "32",
    "libc": libc,
    "base_prefix": os.path.realpath(prefix),
    "cache_tag": sys.implementation.cache_tag or "",
}
print("{" + ", ".join(q(k) + ": " + q(rows[k]) for k in rows) + "}")
"""
_32_BIT = {"x86_64": "i686", "aarch64": "armv7l", "ppc64": "ppc", "s390x": "s390"}
_VERSION = re.compile(r"(\d+)\.(\d+)\.\d+(?:(?:a|b|rc)\d+)?")
_GLIBC = re.compile(r"glibc (\d+)\.(\d+)")
_MUSL = re.compile(r"^Version (\d+)\.(\d+)", re.MULTILINE)
_MAX_OUTPUT = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A CPython interpreter as it answered.

    ``executable`` is the base interpreter's real path, never a venv's and never a shim. ``machine``
    is spelled as in targets; ``libc`` is ``glibc`` or ``musl``.
    """

    executable: Path
    version: str
    python: tuple[int, int]
    abi_flags: str
    machine: str
    libc: str
    libc_version: tuple[int, int]
    base_prefix: Path
    cache_tag: str

    def fits(self, target: Target) -> bool:
        """Say whether this is the target's python: same X.Y and ABI flags."""
        return self.python == target.python and self.abi_flags == target.abi_flags

    def is_native(self, target: Target) -> bool:
        """Say whether machine and libc family are the target's too."""
        return self.machine == target.machine and self.libc == target.libc

    def __str__(self) -> str:
        major, minor = self.libc_version
        platform = f"{self.machine} ({self.libc} {major}.{minor})"
        return f"CPython {self.version}{self.abi_flags} on {platform} at {self.executable}"


def probe(executable: Path, *, timeout: float = 20) -> Interpreter:
    """Run *executable* once and return what it is.

    Raises NotFound where there is no such file, and HostUnsuitable where it does not answer as a
    CPython would: wrong format, no answer within *timeout* seconds, another implementation.
    """
    answer = _ask(executable, timeout)
    try:
        facts = json.loads(answer)
        implementation, found = facts["implementation"], _read(facts, timeout)
    except (ValueError, KeyError, TypeError):
        raise HostUnsuitable(
            f"{executable} is not a usable Python: it answered {answer[:80]!r} instead of what it is"
        ) from None
    if implementation != "cpython":
        raise HostUnsuitable(f"{executable} is {implementation}; targets are for CPython")
    if not found.executable.is_file():
        raise HostUnsuitable(f"{executable} belongs to an interpreter that is gone: {found.executable}")
    return found


def find_interpreter(
    target: Target, explicit: Path | None = None, search: Iterable[Path] | None = None
) -> Interpreter | None:
    """Return an interpreter with *target*'s python and ABI flags, or None.

    *explicit* decides alone: NotFound where it is missing, HostUnsuitable where it does not fit.
    Otherwise the running python's base is asked first, then ``python3.X`` in each folder of
    *search* (default: PATH, /usr/bin, /usr/local/bin, pyenv's and uv's). The first one of the
    target's machine and libc wins; one of another is returned only where there is none.
    """
    if explicit is not None:
        found = probe(explicit)
        if not found.fits(target):
            raise HostUnsuitable(f"{found} does not fit {target}: it needs {target.python_name}")
        return found
    second_best = None
    for candidate in _candidates(target, search):
        try:
            found = probe(candidate)
        except (HostUnsuitable, NotFound):
            continue  # a shim without a version behind it, or a broken installation
        if found.fits(target):
            if found.is_native(target):
                return found
            second_best = second_best or found
    return second_best


def _ask(executable: Path, timeout: float) -> str:
    # An absolute path without a `..` resolved: a symlink's own folder is where pyvenv.cfg is looked for.
    command = [str(executable.absolute()), "-I", "-S", "-c", _PROBE]
    # Shims need PATH and HOME to find what they stand for; the interpreter itself (-I) uses neither.
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYENV_ROOT", "PYENV_VERSION")
    environment = {"LC_ALL": "C", **{name: os.environ[name] for name in kept if name in os.environ}}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise NotFound(f"there is no interpreter at {executable}") from None
    except subprocess.TimeoutExpired:
        raise HostUnsuitable(f"{executable} did not say what it is within {timeout:g} seconds") from None
    except OSError as error:
        raise HostUnsuitable(f"{executable} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-160:]
        raise HostUnsuitable(f"{executable} is not a usable Python: {said or f'exit {done.returncode}'}")
    return done.stdout[:_MAX_OUTPUT].decode("utf-8", "replace")


def _read(facts: dict[str, str], timeout: float) -> Interpreter:
    version = _VERSION.fullmatch(facts["version"])
    if version is None:
        raise ValueError("not a version")
    machine = facts["machine"]
    libc, libc_version = _libc(facts["libc"], timeout)
    return Interpreter(
        executable=Path(facts["executable"]),
        version=facts["version"],
        python=(int(version[1]), int(version[2])),
        abi_flags=facts["abi_flags"],
        machine=machine if facts["bits"] == "64" else _32_BIT.get(machine, machine),
        libc=libc,
        libc_version=libc_version,
        base_prefix=Path(facts["base_prefix"]),
        cache_tag=facts["cache_tag"],
    )


def _libc(answer: str, timeout: float) -> tuple[str, tuple[int, int]]:
    if match := _GLIBC.match(answer):
        return "glibc", (int(match[1]), int(match[2]))
    # musl has no such answer; its loader prints its version when it is started without a program.
    for loader in sorted(Path("/lib").glob("ld-musl-*.so.1")):
        try:
            shown = subprocess.run(
                [str(loader)], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if match := _MUSL.search(shown.stderr.decode("utf-8", "replace")):
            return "musl", (int(match[1]), int(match[2]))
    return "musl", (0, 0)


def _candidates(target: Target, search: Iterable[Path] | None) -> Iterator[Path]:
    seen: set[str] = set()
    if search is None:
        if sys.version_info[:2] == target.python and sys.abiflags == target.abi_flags:
            own = Path(getattr(sys, "_base_executable", None) or sys.executable)
            seen.add(os.path.realpath(own))
            yield own
        search = _default_folders()
    for folder in search:
        candidate = folder / target.python_name
        real = os.path.realpath(candidate)
        if real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            yield candidate


def _default_folders() -> Iterator[Path]:
    yield from (Path(item) for item in os.environ.get("PATH", "").split(os.pathsep) if item)
    yield Path("/usr/bin")
    yield Path("/usr/local/bin")
    home = Path(os.environ.get("HOME") or "/nonexistent")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    for pattern in (pyenv / "versions", managed):
        yield from (entry / "bin" for entry in sorted(pattern.glob("*"), key=_newest_first))


def _newest_first(entry: Path) -> list[int]:
    return [-int(number) for number in re.findall(r"\d+", entry.name)]
