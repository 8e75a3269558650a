from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.errors import HostUnsuitable, NotFound
from manifests.interpreter import Interpreter, find_interpreter, probe
from manifests.target import Target

SELF = Path(sys.executable)


@pytest.fixture(scope="module")
def own() -> Interpreter:
    return probe(SELF)


def target_of(interpreter: Interpreter, **changes: object) -> Target:
    facts = {
        "python": interpreter.python,
        "abi_flags": interpreter.abi_flags,
        "machine": interpreter.machine,
        "libc": interpreter.libc,
        "libc_version": interpreter.libc_version,
    }
    return Target(**(facts | changes))  # type: ignore[arg-type]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_running_python_tells_what_it_is(own: Interpreter) -> None:
    assert own.python == sys.version_info[:2]
    assert own.version.startswith("{}.{}.{}".format(*sys.version_info[:3]))
    assert own.abi_flags == sys.abiflags
    assert own.cache_tag == sys.implementation.cache_tag
    assert own.machine == os.uname().machine
    assert own.base_prefix == Path(sys.base_prefix).resolve()
    assert own.executable == own.executable.resolve()


def test_a_venvs_python_leads_to_its_base(tmp_path: Path, own: Interpreter) -> None:
    subprocess.run([str(own.executable), "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    assert probe(tmp_path / "v/bin/python") == own


def test_a_venv_with_a_copied_python_leads_to_its_base(tmp_path: Path, own: Interpreter) -> None:
    command = [str(own.executable), "-m", "venv", "--without-pip", "--copies", str(tmp_path / "v v")]
    subprocess.run(command, check=True)
    assert probe(tmp_path / "v v/bin/python").executable == own.executable


def test_a_shim_is_resolved_by_running_it(tmp_path: Path, own: Interpreter) -> None:
    shim = script(tmp_path / "shims/python", f'exec "{own.executable}" "$@"')
    assert probe(shim) == own


def test_variables_of_the_caller_do_not_reach_the_probe(
    tmp_path: Path, own: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", "/nonexistent")
    assert probe(SELF) == own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo hello", "is not a usable Python: it answered 'hello"),
        ("echo '[]'", "is not a usable Python: it answered"),
        ('echo \'{"version": "3.11.x"}\'', "is not a usable Python: it answered"),
        ("echo 'version not set' >&2; exit 127", "is not a usable Python: version not set"),
        ("exit 3", "is not a usable Python: exit 3"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HostUnsuitable, match=message):
        probe(script(tmp_path / "python", text))


def test_silence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostUnsuitable, match=r"did not say what it is within 0\.2 seconds"):
        probe(script(tmp_path / "python", "exec sleep 5"), timeout=0.2)


def test_another_implementation_is_refused(tmp_path: Path, own: Interpreter) -> None:
    shim = script(tmp_path / "python", f'"{own.executable}" "$@" | sed s/cpython\\",/pypy\\",/')
    with pytest.raises(HostUnsuitable, match="is pypy; targets are for CPython"):
        probe(shim)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no interpreter at"):
        probe(tmp_path / "python")


def test_a_file_that_cannot_be_run_is_unsuitable(tmp_path: Path) -> None:
    (tmp_path / "python").write_bytes(b"\x7fELF garbage")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(HostUnsuitable, match="cannot be run"):
        probe(tmp_path / "python")


def test_explicit_decides_alone(tmp_path: Path, own: Interpreter) -> None:
    assert find_interpreter(target_of(own), SELF) == own
    with pytest.raises(NotFound):
        find_interpreter(target_of(own), tmp_path / "python")
    with pytest.raises(HostUnsuitable, match=r"does not fit cp399-.* it needs python3\.99"):
        find_interpreter(target_of(own, python=(3, 99)), SELF)


def test_the_running_python_is_preferred(own: Interpreter) -> None:
    assert find_interpreter(target_of(own)) == own


def test_folders_are_searched_in_order_and_broken_ones_passed_over(tmp_path: Path, own: Interpreter) -> None:
    target = target_of(own)
    script(tmp_path / "broken" / target.python_name, "exit 1")
    script(tmp_path / "good" / target.python_name, f'exec "{own.executable}" "$@"')
    folders = [tmp_path / "absent", tmp_path / "broken", tmp_path / "good"]
    assert find_interpreter(target, search=folders) == own
    assert find_interpreter(target, search=folders[:2]) is None


def test_another_machine_is_taken_only_where_there_is_no_native_one(tmp_path: Path, own: Interpreter) -> None:
    target = target_of(own)
    foreign = f'"{own.executable}" "$@" | sed \'s/"machine": "[^"]*"/"machine": "vax"/\''
    script(tmp_path / "foreign" / target.python_name, foreign)
    script(tmp_path / "native" / target.python_name, f'exec "{own.executable}" "$@"')
    folders = [tmp_path / "foreign", tmp_path / "native"]
    assert find_interpreter(target, search=folders) == own
    assert find_interpreter(target, search=folders[:1]) == replace(own, machine="vax")


def test_no_python_of_that_version_is_none(tmp_path: Path, own: Interpreter) -> None:
    assert find_interpreter(target_of(own, python=(3, 99))) is None


def test_a_probe_is_quick() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        probe(SELF)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2  # measured: 12 ms; the bound is for a loaded machine
