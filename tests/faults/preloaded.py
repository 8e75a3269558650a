"""The command line in a process that has all its modules already, so that a run costs a tenth.

A server imports everything once and forks for each run. The child waits at a gate, at which strace
attaches: what is traced and numbered is the command's own work, without interpreter start-up.

    with Preloaded(tmp_path) as server:
        done = server.run(["status", "/srv"], Trace(log=tmp_path / "log"))
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

PROJECT = Path(__file__).resolve().parent.parent.parent
INTERPRETER = os.path.realpath(sys.executable)
"""The binary itself: a shim is a shell script, whose calls are not ours."""

LIMIT = 120.0
_MODULES = (
    "venvoy",
    *(
        f"distributor.commands.{path.stem}"
        for path in sorted((PROJECT / "distributor/commands").glob("*.py"))
        if path.stem != "__init__"
    ),
    *(
        f"distributor.{package}.{path.stem}"
        for package in ("bundles", "checks", "host", "layers", "publishing", "system", "trust")
        for path in sorted((PROJECT / "distributor" / package).glob("*.py"))
        if path.stem != "__init__"
    ),
    *(f"distributor.stores.{name}" for name in ("directory", "location", "copying")),
    *("manifests.receipt", "manifests.atomic_file", "manifests.interpreter", "manifests.console"),
    *("cryptography.hazmat.primitives.asymmetric.ed25519", "cryptography.hazmat.primitives.serialization"),
    *("email.parser", "importlib.metadata", "shutil", "tempfile", "encodings.idna", "pwd", "datetime"),
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a run ended: exit code or minus the signal, what it printed, seconds that it took."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


class Tracing(Protocol):
    """What is done to a run: the options for strace, its log among them."""

    def options(self) -> list[str]:
        """Return strace's options."""


class Runner(Protocol):
    """Runs ``venvoy ARGUMENTS``."""

    def run(self, arguments: Sequence[str], trace: Tracing | None = None) -> Done:
        """Run to the end, under strace where *trace* says so."""


def environment(control: str | None = None) -> dict[str, str]:
    """Return the environment in which every run takes the same path; *control* names a sabotaged build."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VENVOY_", "PYTHON", "XDG_", "COVERAGE"))
    }
    # Real binaries do not know the venv of the tests, so they are told where its packages are.
    path = [str(PROJECT), *(entry for entry in sys.path if entry.endswith("-packages"))]
    if control is not None:
        path.insert(0, str(PROJECT / "tests/faults/controls" / control))
    return {
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(path),
    }


class WholeProcess:
    """Runs the command line as operators do: a fresh interpreter each time."""

    def __init__(self, *, control: str | None = None, before: Sequence[str] = ()) -> None:
        """*before* are the words of a command that runs another."""
        self._environment = environment(control)
        self._before = before

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the whole command line."""
        return [*self._before, INTERPRETER, "-m", "venvoy", *arguments]

    def run(self, arguments: Sequence[str], trace: Tracing | None = None) -> Done:
        """Run to the end."""
        command = self.command(arguments)
        if trace is not None:
            command = ["strace", *trace.options(), *command]
        started = time.monotonic()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=PROJECT,
            env=self._environment,
            check=False,
            timeout=LIMIT,
        )
        return Done(
            returncode=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            seconds=time.monotonic() - started,
        )


class Running:
    """A run that stands at the gate, or has been let go. It must be waited for."""

    def __init__(self, server: Preloaded, pid: int, output: Path) -> None:
        self.pid = pid
        self._server = server
        self._output = output
        self._started = 0.0

    def go(self) -> None:
        """Open the gate."""
        self._started = time.monotonic()
        self._server.ask({"go": self.pid})

    def wait(self) -> Done:
        """Wait for the end, and return how it was."""
        status = self._server.ask({"wait": self.pid})
        seconds = time.monotonic() - self._started
        texts = []
        for kind in ("stdout", "stderr"):
            path = self._output.with_name(f"{self._output.name}.{kind}")
            texts.append(path.read_text(errors="replace"))
            path.unlink()
        code = os.waitstatus_to_exitcode(status)
        return Done(returncode=code, stdout=texts[0], stderr=texts[1], seconds=seconds)


class Preloaded:
    """Runs the command line in forks of a process that has imported everything."""

    def __init__(self, scratch: Path, *, control: str | None = None) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = scratch
        self._count = 0
        self._server = subprocess.Popen(
            [INTERPRETER, "-m", "tests.faults.preloaded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env=environment(control),
        )

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                pipe.close()
        self._server.wait(LIMIT)

    def run(self, arguments: Sequence[str], trace: Tracing | None = None) -> Done:
        """Run to the end, traced from the gate on where *trace* says so."""
        running = self.start(arguments)
        tracer = self._attach(running.pid, trace) if trace is not None else None
        running.go()
        done = running.wait()
        if tracer is not None:
            tracer.wait(LIMIT)
        return done

    def start(self, arguments: Sequence[str]) -> Running:
        """Fork a run, which then stands at the gate. Several may run at once."""
        self._count += 1
        output = self._scratch / f"output-{self._count}"
        pid = self.ask({"start": list(arguments), "output": str(output)})
        return Running(self, pid, output)

    @staticmethod
    def _attach(pid: int, trace: Tracing) -> subprocess.Popen[str]:
        tracer = subprocess.Popen(
            ["strace", *trace.options(), "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        assert tracer.stderr is not None
        with tracer.stderr as said:
            first = said.readline()
        if "attached" not in first:
            raise RuntimeError(f"strace cannot attach: {first}")
        return tracer

    def ask(self, request: Mapping[str, Any]) -> int:
        """Send a request to the server and return its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the preloaded server ended with {self._server.wait(LIMIT)}")
        return int(answer)


def _serve() -> None:
    for module in _MODULES:
        with contextlib.suppress(ModuleNotFoundError):  # a control may hide modules
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "r")
    gates: dict[int, int] = {}
    for line in requests:
        request = json.loads(line)
        if "start" in request:
            answer = _fork(request, gates, (answers, requests))
        elif "go" in request:
            answer = request["go"]
            os.close(gates.pop(answer))
        else:
            answer = os.waitpid(request["wait"], 0)[1]
        answers.write(f"{answer}\n")
        answers.flush()


def _fork(request: Mapping[str, Any], gates: dict[int, int], inherited: Sequence[IO[str]]) -> int:
    waiting, gate = os.pipe()
    ready, arrived = os.pipe()
    pid = os.fork()
    if pid == 0:
        for descriptor in (gate, ready, *gates.values()):
            os.close(descriptor)
        _child(request, arrived, waiting, inherited)
    os.close(waiting)
    os.close(arrived)
    os.read(ready, 1)  # it ends when the child stands at the gate: from there on calls count
    os.close(ready)
    gates[pid] = gate
    return pid


def _child(request: Mapping[str, Any], arrived: int, gate: int, inherited: Sequence[IO[str]]) -> None:
    code: int | str | None = 1
    try:
        for number, path, flags in (
            (0, "/dev/null", os.O_RDONLY),
            (1, request["output"] + ".stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, request["output"] + ".stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            descriptor = os.open(path, flags, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        for stream in inherited:
            os.close(stream.fileno())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(arrived)
        os.read(gate, 1)
        os.close(gate)
        importlib.import_module("venvoy").main(request["start"])
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the interpreter would print it and exit with 1
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _serve()
