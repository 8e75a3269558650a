"""Which processes still use a tree: what it has mapped, opened, entered, or was started from.

Linux only (proc(5)). A process of another user whose entries cannot be read counts as using it, so
that nothing is removed from under somebody whom we could not see.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one look at /proc found: processes that use the tree, and whether all could be seen."""

    pids: tuple[int, ...]
    complete: bool


def find_users(tree: Path, names: Sequence[Path] = (), switched_at: float | None = None) -> Use:
    """Return the processes that use *tree* (a real path).

    Counted are mappings, working directories and open files below *tree*; and, for processes that
    were started before *switched_at* (seconds since the epoch; None: whenever), an argument or a
    variable that leads to one of *names* (the destination, links).
    """
    users = []
    complete = True
    ourselves = _ancestors()  # whoever called us names the destination, and that is no use of it
    for pid in _pids():
        if pid in ourselves:
            continue
        try:
            if _touches(pid, f"{tree}") or (_before(pid, switched_at) and _mentions(pid, [tree, *names])):
                users.append(pid)
        except FileNotFoundError:
            continue  # it ended while we looked
        except PermissionError:
            complete = False
    return Use(pids=tuple(users), complete=complete)


def users_by_tree(trees: Sequence[Path]) -> dict[Path, tuple[int, ...]]:
    """Return the processes that use each of *trees* (real paths), from one look at /proc.

    Counted are mappings, working directories, open files and arguments below a tree. Processes that
    cannot be looked at are left out.
    """
    wanted = {str(tree): tree for tree in trees}
    found: dict[Path, set[int]] = {}
    ourselves = _ancestors()
    for pid in _pids():
        if pid in ourselves:
            continue
        try:
            for path in _paths_of(pid):
                for parent in _parents(path):
                    if parent in wanted:
                        found.setdefault(wanted[parent], set()).add(pid)
        except (FileNotFoundError, PermissionError):
            continue
    return {tree: tuple(sorted(pids)) for tree, pids in found.items()}


def _paths_of(pid: int) -> set[str]:
    """Return every path that the process shows: links, open files, mappings, words of its command line."""
    folder = _PROC / str(pid)
    paths = {_read_link(folder / name) for name in ("cwd", "exe")}
    paths |= {_read_link(folder / "fd" / name) for name in _names(folder / "fd")}
    for line in _read(folder / "maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6:
            paths.add(os.fsdecode(fields[5]))
    paths |= {os.fsdecode(word) for word in _read(folder / "cmdline").split(b"\0")}
    return {path for path in paths if path.startswith("/")}


def _parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _pids() -> Iterator[int]:
    for name in sorted(os.listdir(_PROC)):  # noqa: PTH208 - names are all that is wanted
        if name.isdigit():
            yield int(name)


def _ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int(_read(_PROC / str(pid) / "stat").rpartition(b") ")[2].split()[1])
        except FileNotFoundError:
            break
    return found


def _touches(pid: int, tree: str) -> bool:
    folder = _PROC / str(pid)
    prefix = f"{tree}/"
    for name in ("cwd", "exe", "root"):
        if _inside(_read_link(folder / name), tree, prefix):
            return True
    for entry in _names(folder / "fd"):
        if _inside(_read_link(folder / "fd" / entry), tree, prefix):
            return True
    return prefix.encode() in _read(folder / "maps")


def _mentions(pid: int, names: Sequence[Path]) -> bool:
    """Whether the command line or the environment leads below one of *names*."""
    folder = _PROC / str(pid)
    words = _read(folder / "cmdline").split(b"\0") + _read(folder / "environ").split(b"\0")
    wanted = [os.fsencode(name) for name in names]
    return any(_leads(word, name) for word in words for name in wanted)


def _leads(word: bytes, name: bytes) -> bool:
    """Whether *word* holds *name* as a whole path or as the beginning of one."""
    start = word.find(name)
    while start >= 0:
        end = word[start + len(name) : start + len(name) + 1]
        before = word[start - 1 : start] if start else b""
        if end in (b"", b"/", b":") and before in (b"", b"=", b":", b" ", b"'", b'"', b","):
            return True
        start = word.find(name, start + 1)
    return False


def _before(pid: int, moment: float | None) -> bool:
    if moment is None:
        return True
    fields = _read(_PROC / str(pid) / "stat").rpartition(b") ")[2].split()
    boot = next(
        int(line.split()[1]) for line in _read(_PROC / "stat").splitlines() if line.startswith(b"btime ")
    )
    return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK") <= moment + 1


def _inside(path: str, tree: str, prefix: str) -> bool:
    return path == tree or path.startswith(prefix)


def _read_link(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return str(path.readlink())
    return ""


def _names(path: Path) -> list[str]:
    return os.listdir(path)  # noqa: PTH208 - names are all that is wanted


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except ProcessLookupError:
        raise FileNotFoundError(str(path)) from None
