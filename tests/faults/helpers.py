"""Processes beside the installer: one that reads all the time, and one that attacks as another user.

with Helper("reading", link) as reader: ...
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults.preloaded import INTERPRETER, LIMIT, PROJECT, environment

_NOBODY = 65534
_EVIL = b"evil\n"
_SITE = "lib/python{}.{}/site-packages/demo".format(*sys.version_info[:2])
_WHERE = (f"{_SITE}/data.txt", f"{_SITE}/main.py", "bin/demo-manage", ".venvoy/receipt.json")


class Helper:
    """A process that runs *role* on *places* until it is stopped, and then tells what it counted."""

    def __init__(self, role: str, *places: Path) -> None:
        self._process = subprocess.Popen(
            [INTERPRETER, "-m", "tests.faults.helpers", role, *map(str, places)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env=environment(),
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(
                    BrokenPipeError
                ):  # it may be over already, having found what it sought
                    pipe.close()
        self._process.wait(LIMIT)

    def counted(self) -> dict[str, int]:
        """Return what it counted so far."""
        return self._ask("how far?")

    def until(self, what: str, count: int) -> None:
        """Wait until it has counted so much."""
        deadline = time.monotonic() + LIMIT * 5
        while self.counted()[what] < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> dict[str, int]:
        """Return what it counted."""
        return self._ask("stop")

    def _ask(self, question: str) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


def _reading(places: list[Path]) -> Callable[[Counter[str]], None]:
    """Open the same files through each name, and two files through one open directory."""
    versions: set[bytes] = set()

    def once(counts: Counter[str]) -> None:
        for place in places:
            for name in _WHERE:
                with contextlib.suppress(FileNotFoundError):
                    (place / name).open("rb").close()
                    counts["opens"] += 1
                    continue
                counts["missing"] += 1
            try:
                folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                counts["missing"] += 1
                continue
            try:
                data, main = (_read(name, folder) for name in _WHERE[:2])
            except FileNotFoundError:
                continue  # gc took the tree that this descriptor leads to; nobody was started from it
            finally:
                os.close(folder)
            counts["opens"] += 2
            version = data.split()[-1]
            versions.add(version)
            counts["mixed"] += b"'" + version + b"'" not in main
            counts["versions"] = len(versions)

    return once


def _read(name: str, folder: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _attacking(places: list[Path]) -> Callable[[Counter[str]], None]:
    """Try, as an unprivileged user, to swap names and bytes in *parent* and in the store.

    The first place is a folder in which everybody may make names, as in /tmp; the second is the
    store; the third is the attacker's own folder, with a venv full of evil.
    """
    parent, store, own = places
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    evil = own / "evil"
    (evil / "bin").mkdir(parents=True, exist_ok=True)
    (evil / "bin/demo-manage").write_bytes(_EVIL)
    chance = random.Random(1)
    archives = [path for path in store.rglob("*") if path.is_file()]

    def attempts() -> list[Callable[[], object]]:
        entries = list(parent.iterdir())
        entries += [below for entry in entries[:4] for below in (entry / "bin", entry / "bin/demo-manage")]
        found: list[Callable[[], object]] = []
        for entry in entries:
            dest = parent / entry.name.removeprefix(".").partition(".venvoy")[0]
            found += [
                partial(entry.rename, own / "stolen"),
                partial(evil.rename, entry),
                entry.unlink,
                partial(_overwrite, entry),
                partial((entry / "planted").write_bytes, _EVIL),
                partial((entry / "planted").symlink_to, evil),
                partial(dest.symlink_to, evil),
                dest.mkdir,
            ]
        for archive in chance.sample(archives, min(3, len(archives))):
            found += [partial(_overwrite, archive), partial((evil / "bin/demo-manage").rename, archive)]
        return found

    def once(counts: Counter[str]) -> None:
        for attempt in attempts():
            counts["attempts"] += 1
            try:
                attempt()
                counts["done"] += 1
            except OSError as error:
                counts[errno.errorcode.get(error.errno or 0, "other")] += 1
        # Its own names go again, so that it may plant them at the next instant.
        for entry in os.scandir(parent):
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == _NOBODY:
                    (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)

    return once


def _overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(_EVIL)


_ROLES = {"reading": _reading, "attacking": _attacking}


def _main(role: str, places: list[Path]) -> None:
    once = _ROLES[role](places)
    counts: Counter[str] = Counter(opens=0, missing=0, mixed=0, versions=0, attempts=0, done=0)
    print("ready", flush=True)
    while True:
        once(counts)
        if select.select([sys.stdin], [], [], 0)[0]:
            question = sys.stdin.readline()
            if not question:
                return
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], [Path(place) for place in sys.argv[2:]])
