"""Which processes still use a tree: what they have mapped, opened, entered, or were started from.

Linux only (proc(5)). One look at /proc answers for any number of trees: what a process shows is
searched for the folders in which trees lie, and only what is found there is compared with their names.
A process whose entries cannot be read may use anything; who removes trees must take it so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = "/proc"
_BEFORE = b"\0\n=: '\",\t"
"""What stands before a path in an argument or a variable: its beginning, a separator or a quote."""
_DELETED = b" (deleted)"
_DEAD = (b"Z", b"X", b"x")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A tree (a real path), and the names under which processes were told of it (destination, links).

    A name counts for processes that were started before *switched_at* (seconds since the epoch; None:
    whenever): those that came later were led to another tree by it.
    """

    tree: Path
    names: tuple[Path, ...] = ()
    switched_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one look at /proc found: processes that use the tree, and whether all could be seen."""

    pids: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A name that is looked for: whose question it answers, and until when the process had to start."""

    question: int
    is_tree: bool
    until: float | None


def find_users(tree: Path, names: Sequence[Path] = (), switched_at: float | None = None) -> Use:
    """Return the processes that use *tree*, as ``look`` does for one question."""
    return look([Question(tree=tree, names=tuple(names), switched_at=switched_at)])[0]


def look(questions: Sequence[Question]) -> list[Use]:
    """Return which processes use each tree, in the questions' order, from one look at /proc.

    Counted are mappings, working directories, roots, programs and open files in a tree, and arguments
    and variables that name it or one of its names. We and those who called us are left out: they name
    a destination because it is worked on. Raises OSError where there is no /proc.
    """
    index = _index(questions)
    users: list[list[int]] = [[] for _ in questions]
    complete = True
    ourselves = _ancestors()
    booted = _boot_time()
    for pid in _pids() if questions else ():
        if pid in ourselves:
            continue
        try:
            started = _start_time(pid, booted)
            if started is not None:
                for question in _used_by(pid, started, index):
                    users[question].append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        except OSError:
            complete = False
    return [Use(pids=tuple(pids), complete=complete) for pids in users]


_Index = dict[bytes, dict[bytes, list[_Known]]]
"""Known names by parent (with its last slash), then by their last part."""


def _index(questions: Sequence[Question]) -> _Index:
    index: _Index = {}
    for number, question in enumerate(questions):
        for name in dict.fromkeys((question.tree, *question.names)):
            parent, _, last = os.fsencode(name).rpartition(b"/")
            is_tree = name == question.tree
            known = _Known(question=number, is_tree=is_tree, until=None if is_tree else question.switched_at)
            index.setdefault(parent + b"/", {}).setdefault(last, []).append(known)
    return index


def _used_by(pid: int, started: float, index: _Index) -> set[int]:
    """Return the numbers of the questions whose tree the process uses."""
    folder = f"{_PROC}/{pid}"
    shown = [_link(f"{folder}/{name}") for name in ("cwd", "exe", "root")]
    # A descriptor may be closed while we look; the others are still there.
    shown += [_link(f"{folder}/fd/{name}") for name in os.listdir(f"{folder}/fd")]  # noqa: PTH208
    links = b"\0".join(link.removesuffix(_DELETED) for link in shown)
    found = {known.question for known in _names_in(links, index, b"\0", b"\0") if known.is_tree}
    maps = _read(f"{folder}/maps").replace(_DELETED, b"")
    found |= {known.question for known in _names_in(maps, index, b" ", b"\n") if known.is_tree}
    words = _read(f"{folder}/cmdline") + b"\0" + _read(f"{folder}/environ")
    for known in _names_in(words, index, _BEFORE, b"\0"):
        # The kernel counts starts in ticks, and a receipt's time is in whole seconds.
        if known.until is None or started <= known.until + 1:
            found.add(known.question)
    return found


def _names_in(data: bytes, index: _Index, before: bytes, end: bytes) -> Iterator[_Known]:
    """Yield the known names that stand in *data* as a whole path or as the beginning of one.

    A name is preceded by one of the bytes *before*, unless it is at the very beginning, and followed by
    a slash, by *end*, or by what may separate words.
    """
    for parent, lasts in index.items():
        at = data.find(parent)
        while at >= 0:
            start = at + len(parent)
            if at == 0 or data[at - 1] in before:
                stops = [stop for mark in (b"/", end) if (stop := data.find(mark, start)) >= 0]
                yield from _known(data[start : min(stops, default=len(data))], lasts)
            at = data.find(parent, start)


def _known(word: bytes, lasts: dict[bytes, list[_Known]]) -> Iterator[_Known]:
    """Yield what *lasts* knows of *word*: the whole of it (names may hold a space), and each beginning."""
    yield from lasts.get(word, ())
    for position, byte in enumerate(word):
        if byte in _BEFORE:
            yield from lasts.get(word[:position], ())


def _pids() -> Iterator[int]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - names are all that is wanted
        if name.isdigit():
            yield int(name)


def _ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int(_status_fields(pid)[1])
        except (FileNotFoundError, ProcessLookupError):
            break
    return found


def _status_fields(pid: int) -> list[bytes]:
    """Return the fields of ``stat`` that follow the program's name: state, parent, and so on."""
    return _read(f"{_PROC}/{pid}/stat").rpartition(b") ")[2].split()


def _start_time(pid: int, booted: float) -> float | None:
    """Return when the process started, in seconds since the epoch; None where it is dead already."""
    fields = _status_fields(pid)
    return None if fields[0] in _DEAD else booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _boot_time() -> float:
    lines = _read(f"{_PROC}/stat").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(b"btime "))


def _link(path: str) -> bytes:
    """Return where a link of /proc leads; kernel threads have none, and descriptors may be gone."""
    try:
        return os.fsencode(os.readlink(path))  # noqa: PTH115 - thousands of these
    except FileNotFoundError:
        return b""


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:  # noqa: PTH123 - thousands of these
        return stream.read()
