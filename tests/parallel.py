"""Runs the tests in several processes, a module each at a time: ``python -m tests.parallel [PYTEST ARGS]``.

Each process runs pytest over all tests and leaves out the modules that another one has claimed. Processes
have no threads of their own, unlike pytest-xdist's workers: the unpacker forks only where nobody else runs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

_CLAIMS = "VENVOY_TEST_CLAIMS"
_SHARE = "VENVOY_TEST_SHARE"
_MOST = 4  # no module may take longer than its share, and the longest takes minutes


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests of the modules that no other process has claimed; see _pytest.main.pytest_runtestloop."""
    if session.testsfailed or session.config.option.collectonly:
        return None  # pytest's own loop says what is to be said
    items = _claimed(session.items)
    item = next(items, None)
    while item is not None:
        following = next(items, None)  # fixtures that it needs too stay
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _claimed(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what is ours of *items*: begin at another module than the others do, and go round."""
    share, shares = map(int, os.environ[_SHARE].split("/"))
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.location[0], []).append(item)
    names = list(modules)
    first = len(names) * share // shares
    for name in names[first:] + names[:first]:
        with contextlib.suppress(FileExistsError):
            Path(os.environ[_CLAIMS], name.replace("/", "__")).touch(exist_ok=False)
            yield from modules[name]


def main(arguments: list[str]) -> int:
    """Run pytest with *arguments* once a core; show the first one's output as it comes, then the others'."""
    count = min(len(os.sched_getaffinity(0)), _MOST)
    with contextlib.ExitStack() as stack:
        claims = stack.enter_context(tempfile.TemporaryDirectory())
        running = []
        for share in range(count):
            output = stack.enter_context(tempfile.TemporaryFile()) if share else None
            running.append((_start(arguments, claims, f"{share}/{count}", output), output))
        codes = []
        for process, output in running:
            codes.append(process.wait())
            if output is not None:
                sys.stdout.flush()
                sys.stdout.buffer.writelines(_from_start(output))
                sys.stdout.flush()
    return max(codes, key=abs)


def _start(
    arguments: list[str], claims: str, share: str, output: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, _CLAIMS: claims, _SHARE: share}
    command = [sys.executable, "-m", "pytest", "-p", "tests.parallel", *arguments]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _from_start(output: IO[bytes]) -> Iterator[bytes]:
    output.seek(0)
    yield from output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
