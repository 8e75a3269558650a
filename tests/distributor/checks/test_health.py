"""Health checks in a staged tree: who runs them, with what, for how long, and what they leave."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distributor.checks.health import check_entry_points, run_checks
from manifests.artifact import Artifact, Checks, EntryPoint
from manifests.errors import HealthCheckFailed
from tests.distributor.hostile import artifact, member, tar

USER = "nobody"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def venv() -> Iterator[Path]:
    """Give a folder like a staged venv, which other users may enter; those of pytest they may not."""
    with tempfile.TemporaryDirectory(prefix="venvoy-health-") as folder:
        Path(folder).chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", f"{folder}/venv"], check=True)
        Path(folder, "venv/.venvoy").mkdir(mode=0o755)
        yield Path(folder, "venv")


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def checking(venv: Path, **checks: object) -> Artifact:
    """Return an artifact with these checks, and a package ``demo`` for it in *venv*."""
    made, _ = artifact(tar(member("a", b"x")))
    made = replace(made, checks=Checks(**checks))  # type: ignore[arg-type]
    package = venv / made.target.site_packages / "demo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plain.py").write_text("VALUE = 1\n")
    (package / "broken.py").write_text("raise OSError('no such thing')\n")
    return made


def compiled(venv: Path) -> list[str]:
    return sorted(str(path) for path in venv.rglob("__pycache__")) + [str(p) for p in venv.rglob("*.pyc")]


def test_imports_and_commands_pass_and_leave_no_bytecode(venv: Path, evidence: Path) -> None:
    before = compiled(venv)
    run_checks(
        venv,
        checking(
            venv,
            imports=("demo.plain",),
            commands=(
                ("python", "-c", "import demo.plain"),
                # Isolated mode does not read the environment, and would write.
                ("python", "-I", "-c", "import demo.plain, demo"),
            ),
        ),
        evidence,
    )
    assert compiled(venv) == before
    assert not evidence.exists()


def test_what_is_compiled_already_stays(venv: Path, evidence: Path) -> None:
    made = checking(venv, commands=(("python", "-I", "-O", "-c", "import demo.plain"),))
    package = venv / made.target.site_packages / "demo"
    subprocess.run([sys.executable, "-m", "py_compile", str(package / "plain.py")], check=True)
    before = compiled(venv)
    assert before
    run_checks(venv, made, evidence)
    assert compiled(venv) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run as another user")
def test_they_run_as_the_named_user_with_an_empty_home(venv: Path, evidence: Path) -> None:
    account = pwd.getpwnam(USER)
    script = (
        f'set -e; test "$(id -u) $(id -g) $(id -G)" = "{account.pw_uid} {account.pw_gid} {account.pw_gid}"\n'
        'test -z "$(ls -A "$HOME")"; touch "$HOME/mine"\n'
        'test -z "${SECRET:-}${VENVOY_STORE:-}"\n'
        'test -x "$VIRTUAL_ENV/bin/activate" || test -r "$VIRTUAL_ENV/bin/activate"\n'
        'test ! -w "$VIRTUAL_ENV/bin"\n'
    )
    os.environ["SECRET"] = "not for checks"
    try:
        run_checks(venv, checking(venv, user=USER, commands=(("sh", "-c", script),)), evidence)
    finally:
        del os.environ["SECRET"]


def test_a_user_that_is_not_there_is_named(venv: Path, evidence: Path) -> None:
    with pytest.raises(HealthCheckFailed, match="'no-such-user', which this host does not know"):
        run_checks(venv, checking(venv, user="no-such-user", imports=("demo",)), evidence)


def test_a_failure_is_told_and_its_output_kept(venv: Path, evidence: Path) -> None:
    with pytest.raises(HealthCheckFailed, match=r"check 'import demo\.broken' failed.*exit 1") as caught:
        run_checks(venv, checking(venv, imports=("demo.plain", "demo.broken")), evidence)
    (log,) = evidence.iterdir()
    assert str(log) in str(caught.value)
    assert "OSError: no such thing" in log.read_text()
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o700


def test_a_check_out_of_time_is_killed_with_all_that_it_started(venv: Path, evidence: Path) -> None:
    mark = f"{venv}/alive"
    command = ("sh", "-c", f"(while :; do touch {mark}; sleep 0.05; done) & sleep 60")
    with pytest.raises(HealthCheckFailed, match="no end after 1 s"):
        run_checks(venv, checking(venv, timeout=1, commands=(command,)), evidence)
    last = Path(mark).stat().st_mtime_ns
    time.sleep(0.3)
    assert Path(mark).stat().st_mtime_ns == last


@pytest.mark.parametrize("user", [None, USER])
def test_a_check_ends_with_the_one_that_runs_it_and_its_home_lies_in_the_tree(
    venv: Path, user: str | None
) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("needs root to run as another user")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from distributor.checks.health import _run\n"
        'command = ("sh", "-c", "echo $$ > $HOME/pid.new; mv $HOME/pid.new $HOME/pid; exec sleep 600")\n'
        "_run(command, Path(sys.argv[1]), 600, sys.argv[2] or None)\n"
    )
    runs = subprocess.Popen([sys.executable, "-c", program, str(venv), user or ""], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (found := list(venv.glob(".venvoy/check-*/pid"))):
        assert time.monotonic() < deadline
        assert runs.poll() is None
        time.sleep(0.02)
    check = Path("/proc", found[0].read_text().strip())
    assert check.exists()
    runs.kill()
    runs.wait()
    while check.exists():
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)


def test_entry_points_are_looked_up_without_running_anything(venv: Path) -> None:
    made = checking(venv)
    point = EntryPoint(name="demo", module="demo.broken", attribute="main")
    (venv / "bin/demo").write_text("#!/bin/sh\n")
    check_entry_points(venv, replace(made, entry_points=(point,)))
    for wrong in (replace(point, name="absent"), replace(point, module="demo.absent")):
        with pytest.raises(HealthCheckFailed, match="entry points that lead nowhere"):
            check_entry_points(venv, replace(made, entry_points=(wrong,)))
