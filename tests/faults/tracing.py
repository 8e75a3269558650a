"""System calls as strace shows them: which ones change state, which paths they touch, and their numbers."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SYNCS = frozenset({"fsync", "fdatasync", "syncfs", "sync_file_range", "sync", "msync"})
WRITES = frozenset(
    {"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate"}
    | {"copy_file_range", "sendfile", "splice"}
)
RENAMES = frozenset({"rename", "renameat", "renameat2"})
LINKS = frozenset({"link", "linkat"})
SYMLINKS = frozenset({"symlink", "symlinkat"})
REMOVALS = frozenset({"unlink", "unlinkat", "rmdir"})
FOLDERS = frozenset({"mkdir", "mkdirat"})
ATTRIBUTES = frozenset(
    {"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utimensat"}
    | {"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"}
)
OPENS = frozenset({"open", "openat", "openat2", "creat"})
LOCKS = frozenset({"flock"})
_BY_DESCRIPTOR = (SYNCS | WRITES | LOCKS | {"fchmod", "fchown", "fsetxattr", "fremovexattr"}) - {"truncate"}
CHANGING = SYNCS | WRITES | RENAMES | LINKS | SYMLINKS | REMOVALS | FOLDERS | ATTRIBUTES | OPENS | LOCKS

_OPENS_TO_CHANGE = re.compile(r"O_(CREAT|TRUNC|WRONLY|RDWR|TMPFILE)")
_LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*?)(?:\) += (.*))?$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_UNFINISHED = "<unfinished ...>"
_RANDOM = re.compile(r"[0-9a-f]{16}|#\d+|(?<=check-)[a-z0-9_]{8}")  # random; files without a name; homes


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call. ``number`` counts calls of its name in its thread, as strace's ``when`` does."""

    thread: str
    name: str
    number: int
    arguments: tuple[str, ...]
    result: str

    @property
    def failed(self) -> bool:
        return self.result.startswith("-1") or self.result.startswith("?")

    @property
    def changes(self) -> bool:
        """Whether it is of a kind that changes state; reading opens do not."""
        if self.name in OPENS:
            return any(_OPENS_TO_CHANGE.search(argument) for argument in self.arguments)
        return self.name in CHANGING

    @property
    def paths(self) -> tuple[str, ...]:
        """The absolute paths that it touches: names that are given, or the file behind a descriptor."""
        if self.name in _BY_DESCRIPTOR:
            behind = [
                argument[argument.index("<") + 1 : -1] for argument in self.arguments if "<" in argument
            ]
            return tuple(behind[-1:] if self.name == "copy_file_range" else behind[:1])
        names = self._names()
        if self.name in SYMLINKS:
            return names[1:]
        return names if self.name in RENAMES | LINKS else names[:1]

    def _names(self) -> tuple[str, ...]:
        """The names in its arguments, each below the directory whose descriptor stands before it."""
        found: list[str] = []
        folder = "/"
        for argument in self.arguments:
            if argument.startswith('"'):
                name = argument[1 : argument.rindex('"')]
                found.append(os.path.normpath(os.path.join(folder, name)))  # noqa: PTH118
            elif argument.endswith(">"):
                folder = argument[argument.index("<") + 1 : -1]
        return tuple(found)

    @property
    def signature(self) -> str:
        """What it does to what, with random names made equal: the same in every run."""
        return f"{self.name} {' '.join(_RANDOM.sub('*', path) for path in self.paths)}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Tracing without interference: every call that may change state goes to *log*."""

    log: Path
    follow: bool = False

    def options(self) -> list[str]:
        names = ",".join(f"?{name}" for name in sorted(CHANGING))
        return [*_common(self.log, follow=self.follow), "-e", f"trace={names}"]


@dataclass(frozen=True, kw_only=True)
class Inject:
    """Tracing that does something at one point: ``signal=KILL``, ``error=EIO`` ... .

    Only the main thread is traced: ``when`` counts for each thread, so that a child could be struck first.
    """

    log: Path
    name: str
    number: int
    what: str
    path: str | None = None
    """Where given, only calls that name this path are traced and counted."""

    def options(self) -> list[str]:
        inject = f"inject={self.name}:{self.what}:when={self.number}"
        only = [] if self.path is None else ["-P", self.path]
        return [*_common(self.log, follow=False), *only, "-e", f"trace={self.name}", "-e", inject]


def kill(log: Path, call: Call, calls: Sequence[Call] = ()) -> Inject:
    """Kill at *call*, one of *calls*. Opens of a path that is the same in every run are counted by it.

    How many files a run opens may depend on others: it looks at /proc.
    """
    if call in calls and call.name in OPENS and not _RANDOM.search(call.signature):
        path = call.paths[0]
        if any(argument.startswith(f'"{path}"') for argument in call.arguments):
            same = [item for item in calls if (item.name, item.paths) == (call.name, call.paths)]
            return Inject(log=log, name=call.name, number=same.index(call) + 1, what="signal=KILL", path=path)
    return Inject(log=log, name=call.name, number=call.number, what="signal=KILL")


def fail(log: Path, call: Call, error: int) -> Inject:
    return Inject(log=log, name=call.name, number=call.number, what=f"error={errno.errorcode[error]}")


def read_log(log: Path) -> list[Call]:
    """Return the calls of a log, in the order in which they ended (or were cut off)."""
    counts: Counter[tuple[str, str]] = Counter()
    pending: dict[str, str] = {}
    calls = []
    for raw in log.read_text(errors="surrogateescape").splitlines():
        line = raw
        if resumed := _RESUMED.match(line):
            line = pending.pop(resumed[1]).replace(_UNFINISHED, "") + resumed[3]
        elif line.endswith(_UNFINISHED) and (started := re.match(r"(\d+) ", line)):
            pending[started[1]] = line
            continue
        found = _LINE.match(line)
        if found is None:
            continue
        thread, name, arguments, result = found.groups(default="")
        counts[thread, name] += 1
        calls.append(
            Call(
                thread=thread,
                name=name,
                number=counts[thread, name],
                arguments=tuple(_split(arguments.replace(_UNFINISHED, ""))),
                result=result,
            )
        )
    return calls


def points(calls: Sequence[Call], below: Path) -> list[Call]:
    """Return the calls that changed something below a folder: where a run is worth interrupting.

    Signs of life on a lock are left out: they come once a second, wherever a run is then.
    """
    inside = f"{below}/"
    return [
        call
        for call in calls
        if call.changes and not call.failed and any(f"{path}/".startswith(inside) for path in call.paths)
        if not (call.name == "utimensat" and call.paths[0].endswith("-lock"))
    ]


def spread(items: Sequence[Call], count: int) -> list[Call]:
    """Return *count* of *items*, evenly spread, both ends among them."""
    if count >= len(items):
        return list(items)
    step = (len(items) - 1) / (count - 1)
    return [items[round(index * step)] for index in range(count)]


def _common(log: Path, *, follow: bool) -> list[str]:
    return [*(["-f"] if follow else []), "-y", "-s", "0", "-e", "signal=none", "-o", str(log)]


def _split(text: str) -> Iterator[str]:
    """Split an argument list at its commas, but not inside of quotes, braces or brackets."""
    part, quoted, depth, escaped = "", False, 0, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "<{[(":
            depth += 1
        elif character in ">}])":
            depth -= 1
        if character == "," and not quoted and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    if part.strip():
        yield part.strip()
