"""Health checks of a staged tree, before anything is switched to it."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manifests.artifact import Artifact
from manifests.errors import HealthCheckFailed
from manifests.layout import PRIVATE
from manifests.parent_death import end_with_parent

_SHOWN = 10
_TAIL = 300
_OUTPUT_LIMIT = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check that ran: its command line, exit status (None: out of time), and what it printed."""

    command: tuple[str, ...]
    status: int | None
    output: str


def check_entry_points(venv: Path, artifact: Artifact) -> None:
    """Raise HealthCheckFailed naming each entry point whose launcher or module is not in the tree.

    Runs nothing. The builder lists only those that it found in the artifact, so that one that lacks
    here means a damaged tree and not a careless wheel.
    """
    site = venv / artifact.target.site_packages
    known: dict[str, bool] = {}
    missing = []
    for point in artifact.entry_points:
        if point.module not in known:
            known[point.module] = _has_module(site, point.module)
        if not known[point.module] or not (venv / "bin" / point.name).is_file():
            missing.append(f"{point.name} ({point.module}:{point.attribute})")
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise HealthCheckFailed(f"{artifact.stem}: entry points that lead nowhere: {shown}")


def run_checks(venv: Path, artifact: Artifact, evidence: Path) -> None:
    """Run the imports and commands that the spec asks for, each in a process of its own.

    They see a clean environment, an empty home and a time limit. Python is told to write no ``.pyc``;
    those of commands that do not let themselves be told are removed. Raises HealthCheckFailed naming the
    first that fails; all output is kept in *evidence*.
    """
    with _no_bytecode_left(venv / artifact.target.site_packages, wanted=bool(artifact.checks.commands)):
        _run_all(venv, artifact, evidence)


@contextlib.contextmanager
def _no_bytecode_left(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Remove the compiled files that appear below *folder* meanwhile, and their folders if they are new."""
    before = _bytecode(folder) if wanted else set()
    try:
        yield
    finally:
        for path in _bytecode(folder) - before if wanted else ():
            path.unlink(missing_ok=True)
            if not any(other.parent == path.parent for other in before):
                with contextlib.suppress(OSError):  # it holds something else too
                    path.parent.rmdir()


def _bytecode(folder: Path) -> set[Path]:
    found = set()
    for place, _, names in os.walk(folder):
        found |= {Path(place, name) for name in names if name.endswith(".pyc")}
    return found


def _run_all(venv: Path, artifact: Artifact, evidence: Path) -> None:
    checks = artifact.checks
    python = str(venv / "bin/python")
    commands = [
        *(
            (python, "-I", "-B", "-c", "import importlib, sys; importlib.import_module(sys.argv[1])", name)
            for name in checks.imports
        ),
        *(
            (
                str(venv / "bin" / command[0]) if (venv / "bin" / command[0]).exists() else command[0],
                *command[1:],
            )
            for command in checks.commands
        ),
    ]
    for command in commands:
        result = _run(command, venv, checks.timeout, checks.user)
        if result.status != 0:
            kept = _keep(result, artifact, evidence)
            how = f"no end after {checks.timeout} s" if result.status is None else f"exit {result.status}"
            tail = " ".join(result.output.split())[-_TAIL:]
            shown = (
                " ".join([Path(command[0]).name, *command[1:]])
                if command[0] != python
                else f"import {command[-1]}"
            )
            raise HealthCheckFailed(
                f"check '{shown}' failed in the staged venv ({how}): {tail}\nall of its output: {kept}"
            )


def _run(command: tuple[str, ...], venv: Path, timeout: int, user: str | None) -> CheckResult:
    # In the staged tree, so that nothing is left of it whatever ends this process.
    private = venv / PRIVATE
    with (
        tempfile.TemporaryDirectory(prefix="check-", dir=private) as home,
        tempfile.TemporaryFile() as output,
    ):
        account = _account(user) if user is not None else None
        if account is not None:
            os.chown(home, account.pw_uid, account.pw_gid)
        environment = {
            "PATH": f"{venv / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "VIRTUAL_ENV": str(venv),
        }
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=environment,
                start_new_session=True,
                # Nobody would end it in time when this process is gone.
                preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - there are no threads here
                umask=0o022,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=() if account else None,
            )
        except OSError as error:
            return CheckResult(command=command, status=127, output=f"{command[0]}: {error.strerror}")
        status = _wait(process, timeout)
        output.seek(0)
        text = output.read(_OUTPUT_LIMIT).decode("utf-8", "replace")
    return CheckResult(command=command, status=status, output=text)


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise HealthCheckFailed(f"the checks shall run as {user!r}, which this host does not know") from None


def _wait(process: subprocess.Popen[bytes], timeout: int) -> int | None:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Whatever it started goes with it, on Ctrl-C too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _keep(result: CheckResult, artifact: Artifact, evidence: Path) -> Path:
    evidence.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = evidence / f"{artifact.service}-{artifact.identity[:12]}-{stamp}.log"
    text = f"$ {' '.join(result.command)}\nexit status: {result.status}\n\n{result.output}"
    path.write_text(text, encoding="utf-8")
    return path


def _has_module(site: Path, module: str) -> bool:
    place = site.joinpath(*module.split("."))
    if place.is_dir() or place.with_name(f"{place.name}.py").is_file():
        return True
    return any(place.parent.glob(f"{place.name}.*so"))
