"""What a running service sees of a switch, for each way in which it may have been started.

Each process here starts before the switch, waits for a line, and only then imports a module and opens a
data file. What started from a launcher or from ``real_path`` stays with its tree. What was started by
another name may see the new tree, but never misses a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distributor.system import processes
from distributor.system.processes import Question, find_users, look
from tests.small_site import SmallSite, venvoy

MAIN = b"""
import json
import sys
from pathlib import Path


def main():
    print("ready", flush=True)
    sys.stdin.readline()
    from demo import late

    data = (Path(late.__file__).parent / "data.txt").read_text()
    name = Path("/proc/self/comm").read_text()
    print(json.dumps({"module": late.RELEASE, "data": data.split()[-1], "comm": name}))
"""
RELEASES = ("1.0.0", "2.0.0")
RUN = ("-c", "from demo.main import main; main()")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    for release in RELEASES:
        late = f"RELEASE = {release!r}\n".encode()
        made.release(release, files={"demo/main.py": MAIN, "demo/late.py": late})
    return made


class Service:
    """A process that has started, and waits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def go_on(self) -> dict[str, Any]:
        """Let it import late, and return what it saw."""
        out, errors = self._process.communicate("go\n", timeout=60)
        assert self._process.returncode == 0, errors
        seen: dict[str, Any] = json.loads(out)
        return seen


@contextmanager
def running(*command: str | Path) -> Iterator[Service]:
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Service(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("form", ["launcher", "real path", "launcher of the real path"])
def test_a_flipped_link_leaves_a_running_service_its_tree(site: SmallSite, tmp_path: Path, form: str) -> None:
    link = tmp_path / "demo"
    real = Path(site.install("1.0.0", tmp_path / "demo-1", "--link", str(link))["real_path"])
    command = {
        "launcher": [link / "bin/demo-manage"],
        "real path": [real / "bin/python", *RUN],
        "launcher of the real path": [real / "bin/demo-manage"],
    }[form]
    with running(*command) as service:
        switched = site.install("2.0.0", tmp_path / "demo-2", "--link", str(link))
        assert switched["link_flipped"] is True
        assert venvoy("gc", tmp_path, "--keep", "0").returncode == 0
        seen = service.go_on()
    assert (seen["module"], seen["data"]) == ("1.0.0", "1.0.0")
    assert form == "real path" or seen["comm"] == "demo-manage\n"


def test_an_interpreter_started_by_the_link_misses_nothing_when_it_flips(
    site: SmallSite, tmp_path: Path
) -> None:
    link = tmp_path / "demo"
    site.install("1.0.0", tmp_path / "demo-1", "--link", str(link))
    with running(link / "bin/python", *RUN) as service:
        site.install("2.0.0", tmp_path / "demo-2", "--link", str(link))
        (first, _) = json.loads(venvoy("status", tmp_path, "--json").stdout)["venvs"]
        assert first["active"] == "1.0.0"
        seen = service.go_on()
    assert seen["module"] == seen["data"]
    assert seen["module"] in RELEASES


@pytest.mark.parametrize("form", ["interpreter", "launcher", "interpreter by link", "launcher by link"])
def test_an_exchanged_destination_misses_nothing_and_names_who_must_restart(
    site: SmallSite, tmp_path: Path, form: str
) -> None:
    dest, link = tmp_path / "demo", tmp_path / "current"
    site.install("1.0.0", dest, "--link", str(link))
    start = link if "link" in form else dest
    command = [start / "bin/demo-manage"] if "launcher" in form else [start / "bin/python", *RUN]
    with running(*command) as service:
        switched = site.install("2.0.0", dest, "--link", str(link))
        # Whom the link alone leads there, nobody but the link can tell of.
        if form != "interpreter by link":
            assert service.pid in switched["restart_pids"]
        (kept,) = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)["trees"]
        assert (kept["removed"], str(service.pid) in kept["why"]) == (False, True)
        seen = service.go_on()
    assert seen["module"] == seen["data"]
    assert seen["module"] in RELEASES
    (gone,) = json.loads(venvoy("gc", tmp_path, "--keep", "0", "--json").stdout)["trees"]
    assert gone["removed"] is True


def test_names_count_for_those_who_started_before_the_switch(tmp_path: Path) -> None:
    tree, dest, link = tmp_path / ".demo.venvoy-old-1", tmp_path / "demo", tmp_path / "my link"
    now = time.time()
    for words, environment, names, expected in (
        ([f"{dest}/etc"], {}, [dest], True),
        ([f"--config={dest}"], {}, [dest], True),
        ([], {"PATH": f"/bin:{link}/bin:/usr/bin"}, [dest, link], True),
        ([], {"VIRTUAL_ENV": str(link)}, [dest, link], True),
        ([f"{dest}-2/etc", f"x{dest}"], {"A": f"{dest}2:/bin"}, [dest], False),
        ([str(dest)], {}, [], False),
    ):
        command = ["/bin/sh", "-c", "echo ready; read line; exit 0", "sh", *words]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd="/"
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            before = process.pid in find_users(tree, names, now + 60).pids
            after = process.pid in find_users(tree, names, now - 60).pids
        finally:
            process.communicate(b"\n")
        assert (before, after) == (expected, False)


def test_the_tree_itself_counts_whenever_it_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "demo"
    tree.mkdir()
    with subprocess.Popen(
        ["/bin/sh", "-c", "read line", str(tree)], stdin=subprocess.PIPE, cwd="/"
    ) as process:
        assert process.pid in find_users(tree, [], 0.0).pids
        process.communicate(b"\n")
    assert find_users(tree).pids == ()


def test_what_cannot_be_looked_at_makes_every_answer_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = processes._read
    process = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE, cwd="/")

    def read(path: str) -> bytes:
        if path == f"/proc/{process.pid}/maps":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(processes, "_read", read)
    try:
        uses = look([Question(tree=tmp_path / "a"), Question(tree=tmp_path / "b")])
    finally:
        process.communicate(b"\n")
    assert [(use.pids, use.complete) for use in uses] == [((), False)] * 2


def test_a_process_that_ended_but_was_not_reaped_uses_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(["/bin/true", str(tmp_path)], cwd="/")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.pid not in find_users(tmp_path).pids
    process.wait()
