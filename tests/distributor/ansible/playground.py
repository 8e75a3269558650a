"""Real plays on several hosts of this machine, with a store that they reach over HTTP."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.documents import sha256_file
from tests.small_site import HOST, PROJECT, TARGET

HERE = Path(__file__).parent / "plays"
COLLECTIONS = PROJECT / "distributor/ansible"
VENVS = Path("/openstack/venvs")
FACTS = Path("/etc/ansible/facts.d/openstack_ansible.fact")
LOG = Path("/var/log/handlers")
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


_CONNECTION = {
    "ansible_connection": "overlay",
    "ansible_python_interpreter": str(HOST.executable),
    "ansible_pipelining": True,
}


@dataclass(frozen=True)
class Played:
    """How a play ended: its output, and (ok, changed, failed) of each host."""

    status: int
    output: str
    hosts: dict[str, tuple[int, int, int]]
    seconds: float

    @property
    def changed(self) -> int:
        return sum(changed for _, changed, _ in self.hosts.values())

    def warnings(self, text: str) -> int:
        return len(re.findall(rf"\[WARNING\].*{re.escape(text)}", self.output.replace("\n", " ")))


class Playground:
    """Hosts by name, with their roots. *folder* is the controller's."""

    def __init__(self, folder: Path, hosts: Mapping[str, Path], tool: Path) -> None:
        self.folder = folder
        self.hosts = dict(hosts)
        self.connections: dict[str, dict[str, Any]] = {}  # of hosts that are not reached by chroot
        self.collections = COLLECTIONS
        self.variables: dict[str, Any] = {
            "controller": str(folder),
            "venv_python_executable": str(HOST.executable),
            "venv_tool": [{"target": str(TARGET), "sha256": sha256_file(tool), "src": str(tool)}],
        }
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, play: str, *options: str, **variables: Any) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment of a *play* (a file of ours, or its text)."""
        path = HERE / play
        if "\n" in play:
            path = self.folder / "play.yml"
            path.write_text(play)
        inventory = self.folder / "hosts.json"
        hosts = {
            name: {"overlay_root": str(root), **_CONNECTION, **self.connections.get(name, {})}
            for name, root in self.hosts.items()
        }
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        given = self.folder / f"variables-{os.getpid()}-{time.monotonic_ns()}.json"
        (self.folder / str(variables.get("results", "results"))).mkdir(exist_ok=True)
        given.write_text(json.dumps({**self.variables, **variables}))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection_plugins"),
            "ANSIBLE_ROLES_PATH": str(HERE / "roles"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_REMOTE_TMP": "/root/.ansible/tmp",
            "ANSIBLE_FORCE_HANDLERS": "True",
            "ANSIBLE_INJECT_FACT_VARS": "False",
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "PYTHONWARNINGS": "ignore",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = ["ansible-playbook", "-i", str(inventory), "-e", f"@{given}", *options, str(path)]
        return command, environment

    def play(self, play: str, *options: str, fails: bool = False, **variables: Any) -> Played:
        """Run a play to its end; fails the test where it fails, unless it is to."""
        command, environment = self.command(play, *options, **variables)
        started = time.monotonic()
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        result = _played(done.returncode, done.stdout + done.stderr, time.monotonic() - started)
        assert (result.status != 0) == fails, result.output
        return result

    def start(self, play: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        """Start a play in a process group of its own."""
        command, environment = self.command(play, *options, **variables)
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def results(self, name: str) -> dict[str, Any]:
        """Return what the play wrote down of each host's result."""
        return {
            path.stem: json.loads(path.read_text()) for path in sorted((self.folder / name).glob("*.json"))
        }

    def inside(self, host: str, path: Path) -> Path:
        """Return where *path* of *host* lies on this machine."""
        return self.hosts[host] / path.relative_to("/")

    def run(self, host: str, *command: str) -> str:
        """Run a command on *host* and return what it printed."""
        done = subprocess.run(
            ["chroot", str(self.hosts[host]), *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def facts(self, host: str) -> dict[str, dict[str, str]]:
        """Return the host's facts."""
        parser = configparser.RawConfigParser()
        parser.read(self.inside(host, FACTS))
        return {section: dict(parser.items(section)) for section in parser.sections()}

    def handled(self, host: str) -> list[str]:
        """Return what handlers have noted on *host*, in order."""
        path = self.inside(host, LOG)
        return path.read_text().splitlines() if path.exists() else []

    def forget_handled(self) -> None:
        for host in self.hosts:
            self.inside(host, LOG).unlink(missing_ok=True)


def kill(process: subprocess.Popen[str], *, modules: bool) -> None:
    """End a play as a lost terminal or a lost machine does: the controller alone, or what it started too.

    Workers have sessions of their own, so that a process group does not hold them all.
    """
    if modules:
        found: list[int] = []
        while new := [pid for pid in (process.pid, *_descendants(process.pid)) if pid not in found]:
            for pid in new:  # what is stopped starts nothing more
                _signal(pid, signal.SIGSTOP)
            found += new
        for pid in found:
            _signal(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_for_orphans(process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until what a killed play had started, and was not killed, has ended."""
    words = [os.fsencode(str(word)) for word in process.args if str(word).startswith("@")]  # type: ignore[union-attr]
    deadline = time.monotonic() + seconds
    while any(set(words) <= set(command) for command in _commands().values()):
        assert time.monotonic() < deadline, "still at work"
        time.sleep(0.05)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _commands() -> dict[int, list[bytes]]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")
    return found


def _played(status: int, output: str, seconds: float) -> Played:
    hosts = {
        name: (int(ok), int(changed), int(failed) + int(lost))
        for name, ok, changed, lost, failed in _RECAP.findall(output)
    }
    return Played(status=status, output=output, hosts=hosts, seconds=seconds)
