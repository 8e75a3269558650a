from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.layers.skeleton import build_skeleton, skeleton_key
from manifests.layout import NAME_PLACEHOLDER, PREFIX_PLACEHOLDER, SKELETON_INDEX, TEMPLATES
from tests.builder.interpreters import executable, target_of
from tests.builder.layer_factory import FAST, skeleton_bytes, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

AWKWARD = ["venv", "two  spaces", "qu'o\"te $HOME `x`", "ünïcode-日本", "-n"]


@pytest.fixture(scope="module")
def skeleton() -> bytes:
    return skeleton_bytes()


def unpacked(skeleton: bytes, place: Path) -> Path:
    return unpack(place, skeleton)


def bind(venv: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [venv / "bin/venvoy-bind", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )


def files_of(data: bytes) -> dict[str, tarfile.TarInfo]:
    import zstandard

    plain = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain + bytes(1024))) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_it_holds_what_a_venv_has_before_any_wheel_and_nothing_bound(skeleton: bytes) -> None:
    members = files_of(skeleton)
    assert {"bin/activate", "bin/activate.fish", "bin/venvoy-bind", SKELETON_INDEX} <= members.keys()
    assert members["lib64"].linkname == "lib"
    assert members["bin/venvoy-bind"].mode == 0o755
    for absent in ("pyvenv.cfg", "bin/python", "bin/python3", "CACHEDIR.TAG", ".gitignore", "bin/pip"):
        assert absent not in members
    for template in ("activate.csh", "activate.nu", "activate.xsh"):
        assert f"{TEMPLATES}/{template}" in members
        assert f"bin/{template}" not in members


def test_no_path_of_the_building_machine_is_in_it(skeleton: bytes, tmp_path: Path) -> None:
    venv = unpacked(skeleton, tmp_path / "v")
    for path in venv.rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text(encoding="utf-8")
            for hint in (
                str(Path.cwd()),
                sys.prefix,
                sys.base_prefix,
                "/tmp",
                os.environ.get("HOME", "/root"),
            ):
                assert hint not in text, path
            if not path.is_relative_to(venv / TEMPLATES) and path.name != "venvoy-bind":
                assert PREFIX_PLACEHOLDER not in text, path
                assert NAME_PLACEHOLDER not in text, path


def test_it_does_not_depend_on_the_machine(skeleton: bytes, tmp_path: Path) -> None:
    """Another place for temporary files, another umask, settings of virtualenv, another folder."""
    place = tmp_path / "with space"
    place.mkdir()
    settings = tmp_path / "virtualenv.ini"
    settings.write_text("[virtualenv]\nactivators = bash\nprompt = mine\n")
    code = (
        "import os, sys; os.umask(0o077); from tests.builder.layer_factory import skeleton_bytes; "
        "sys.stdout.buffer.write(skeleton_bytes())"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "TMPDIR": str(place),
        "HOME": str(place),
        "LC_ALL": "C",
        "VIRTUALENV_PROMPT": "leaks",
        "VIRTUALENV_ACTIVATORS": "fish",
        "VIRTUALENV_CONFIG_FILE": str(settings),
        "PYTHONHASHSEED": "5",
        "TCL_LIBRARY": "/opt/tcl",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=place, check=True, capture_output=True
    )
    assert done.stdout == skeleton
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("python", ["cp310", "cp311", "cp312", "cp313t"])
def test_it_is_for_the_targets_python_whatever_python_builds_it(python: str, tmp_path: Path) -> None:
    target = target_of(python)
    venv = unpacked(skeleton_bytes(target), tmp_path / "v")
    names = set()
    for path in venv.rglob("*"):
        if path.is_file() and not path.is_symlink():
            names |= set(re.findall(r"python3\.\d+t?", path.read_text(encoding="utf-8")))
    assert names == {target.python_name}
    done = subprocess.run([sys.executable, "-c", ACTIVATE_THIS, venv / "bin/activate_this.py"], check=True, capture_output=True, text=True)  # fmt: skip # noqa: E501
    assert done.stdout.split() == [str(venv), f"{venv}/{target.site_packages}"]


ACTIVATE_THIS = "import runpy, sys; runpy.run_path(sys.argv[1]); print(sys.prefix, sys.path[0])"


def test_the_record_and_the_key(skeleton: bytes) -> None:
    sink = io.BytesIO()
    record = build_skeleton(target_of(), FAST, sink)
    assert sink.getvalue() == skeleton
    assert record.key == skeleton_key(target_of(), FAST) != skeleton_key(target_of("cp312"), FAST)
    assert record.members == len(files_of(skeleton))
    assert record.length == len(skeleton)


POSIX = """
before=$PATH; unset PYTHONHOME; export PYTHONHOME=/nowhere
. {activate} && . {activate}
printf '%s\\n' "$VIRTUAL_ENV" "${{PATH%%:*}}" "${{PYTHONHOME-unset}}" "$(command -v python)" \\
    "${{_VENVOY_PREFIX-unset}}"
deactivate
printf '%s\\n' "${{VIRTUAL_ENV-unset}}" "$([ "$PATH" = "$before" ] && echo restored)" "$PYTHONHOME"
"""
FISH = """
set -l before "$PATH"; set -gx PYTHONHOME /nowhere
source {activate}; and source {activate}
printf '%s\\n' $VIRTUAL_ENV $PATH[1] (set -q PYTHONHOME; and echo set; or echo unset) \\
    (command -v python) unset
deactivate
printf '%s\\n' (set -q VIRTUAL_ENV; and echo set; or echo unset) \\
    (test "$PATH" = "$before"; and echo restored) $PYTHONHOME
"""
CSH = """
set before="$PATH"; setenv PYTHONHOME /nowhere
source {activate}.csh; source {activate}.csh
printf '%s\\n' "$VIRTUAL_ENV" "$PATH:as/:/ /:q" | head -1
printf '%s\\n' "$path[1]" unset "`which python`" unset
deactivate
if ($?VIRTUAL_ENV) echo set
if (! $?VIRTUAL_ENV) echo unset
if ("$PATH" == "$before") echo restored
echo $PYTHONHOME
"""


def shell_output(command: Sequence[str], script: str, folder: Path) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} on this machine")
    done = subprocess.run(
        [*command, script],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb"},
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize(
    ("command", "script", "suffix"),
    [
        (["bash", "-uc"], POSIX, ""),
        (["bash", "--posix", "-c"], POSIX, ""),
        (["zsh", "-fuc"], POSIX, ""),
        (["fish", "--no-config", "-c"], FISH, ".fish"),
    ],
    ids=["bash", "bash-posix", "zsh", "fish"],
)
def test_activation_works_where_the_venv_lies_now(
    command: list[str], script: str, suffix: str, name: str, skeleton: bytes, tmp_path: Path
) -> None:
    """Twice, from another folder, by absolute and by relative path, after a move, and back again."""
    venv = unpacked(skeleton, tmp_path / "made here" / "x")
    assert bind(venv, executable()).returncode == 0
    place = tmp_path / name
    venv.rename(place)
    expected = [
        str(place),
        f"{place}/bin",
        "unset",
        f"{place}/bin/python",
        "unset",
        "unset",
        "restored",
        "/nowhere",
    ]
    # `.` takes a leading dash for an option, so that people write ./-n themselves.
    for activate in (f"{place}/bin/activate{suffix}", f"./{name}/bin/activate{suffix}"):
        assert shell_output(command, script.format(activate=quoted(activate, suffix)), tmp_path) == expected


def quoted(text: str, suffix: str) -> str:
    return shlex.quote(text).replace('"\'"', "\\'") if suffix == ".fish" else shlex.quote(text)


def test_csh_is_bound_to_its_place(skeleton: bytes, tmp_path: Path) -> None:
    venv = unpacked(skeleton, tmp_path / "venv")
    assert bind(venv, executable()).returncode == 0
    output = shell_output(["tcsh", "-fc"], CSH.format(activate=f"{venv}/bin/activate"), tmp_path)
    assert output == [
        str(venv),
        f"{venv}/bin",
        "unset",
        f"{venv}/bin/python",
        "unset",
        "unset",
        "restored",
        "/nowhere",
    ]


def test_a_plain_sh_is_told_what_it_needs(skeleton: bytes, tmp_path: Path) -> None:
    if shutil.which("dash") is None:
        pytest.skip("no dash on this machine")
    venv = unpacked(skeleton, tmp_path / "ve nv")
    activate = shlex.quote(f"{venv}/bin/activate")
    done = subprocess.run(["dash", "-c", f". {activate}"], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "VENVOY_PREFIX" in done.stderr
    assert done.stderr.count("\n") == 1
    script = f"VENVOY_PREFIX={shlex.quote(str(venv))}; . {activate}; echo $VIRTUAL_ENV"
    assert shell_output(["dash", "-c"], script, tmp_path) == [str(venv)]


def test_binding_by_hand(skeleton: bytes, tmp_path: Path) -> None:
    python = executable()
    for name in AWKWARD:
        venv = unpacked(skeleton, tmp_path / name)
        done = bind(venv, python)
        assert done.returncode == 0, done.stderr
        code = "import sys; print(sys.prefix, sys.prefix != sys.base_prefix, sys.flags.ignore_environment)"
        found = subprocess.run(
            [venv / "bin/python", "-c", code], check=True, capture_output=True, text=True
        ).stdout
        assert found == f"{venv} True 0\n"
        assert (venv / "bin/python").readlink() == python
        assert (venv / "bin/python3").readlink() == Path("python")
        assert (venv / "bin/python3.11").readlink() == Path("python")
        assert f"home = {python.parent}\n" in (venv / "pyvenv.cfg").read_text()
        assert bind(venv, python).returncode == 0  # again is fine
        plain = name in ("venv", "-n")
        assert (venv / "bin/activate.csh").exists() == plain
        assert ("left out" in done.stderr) != plain
    text = (tmp_path / "venv/bin/activate.csh").read_text()
    assert PREFIX_PLACEHOLDER not in text
    assert NAME_PLACEHOLDER not in text
    assert str(tmp_path / "venv") in text


@pytest.mark.parametrize("python", ["cp310", "cp311"])
def test_binding_through_a_link_and_to_a_venvs_python(python: str, tmp_path: Path) -> None:
    """A venv's python stands for its base: binding to one must not make a chain, still less a loop."""
    base, data = executable(python), skeleton_bytes(target_of(python))
    first = unpacked(data, tmp_path / "first")
    assert bind(first, base).returncode == 0
    second = unpacked(data, tmp_path / "second")
    (tmp_path / "link").symlink_to(second)
    assert bind(tmp_path / "link", first / "bin" / target_of(python).python_name).returncode == 0
    assert (second / "bin/python").readlink() == base
    assert bind(first, PATH=f"{first}/bin:{os.environ['PATH']}").returncode == 0
    assert (first / "bin/python").readlink() == base


def test_binding_finds_python_on_path(skeleton: bytes, tmp_path: Path) -> None:
    venv = unpacked(skeleton, tmp_path / "v")
    assert bind(venv, PATH=f"{executable().parent}:{os.environ['PATH']}").returncode == 0
    assert (venv / "bin/python").resolve() == executable()


def test_binding_to_another_python_is_refused(skeleton: bytes, tmp_path: Path) -> None:
    venv = unpacked(skeleton, tmp_path / "v")
    done = bind(venv, executable("cp312"))
    assert done.returncode == 4
    assert done.stderr.endswith("is python3.12, this venv needs python3.11\n")
    (tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "broken").chmod(0o755)
    assert bind(venv, tmp_path / "broken").returncode == 4
    assert not (venv / "bin/python").is_symlink()
    assert not (venv / "pyvenv.cfg").exists()


def test_binding_without_a_python_says_so(skeleton: bytes, tmp_path: Path) -> None:
    venv = unpacked(skeleton, tmp_path / "v")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("readlink", "dirname", "sed", "basename", "ln"):
        (tools / tool).symlink_to(shutil.which(tool) or "/nonexistent")
    done = bind(venv, PATH=str(tools))
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "no python3.11 on PATH" in done.stderr
    done = bind(venv, tmp_path / "absent/python3.11")
    assert (done.returncode, done.stderr) == (
        5,
        f"venvoy-bind: {tmp_path}/absent/python3.11 is not a program\n",
    )
    assert not (venv / "pyvenv.cfg").exists()


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    skeleton_bytes(target_of("cp313"))
    assert list(tmp_path.iterdir()) == []
