from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.layers.launchers import console_script, relocatable_script
from manifests.errors import InvalidInput, VenvoyError
from tests.builder.layer_factory import layer_of, request_for
from tests.wheel_factory import make_wheel

PYTHON = os.path.realpath(sys.executable)
MODULE = """
import os, sys

def main():
    with open("/proc/self/comm") as comm:
        print(ascii([sys.argv[1:], comm.read().rstrip(), os.path.dirname(sys.argv[0]), sys.flags.isolated]))
    return int(os.environ.get("STATUS", "0"))

class Tool:
    class Inner:
        @staticmethod
        def run():
            print("inner")
"""
AWKWARD = {
    "long": "x" * 120 + "/" + "y" * 120,
    "spaces": "with  two spaces",
    "quotes": "a'b\"c`d",
    "dollar": "$HOME$(exit 3)",
    "unicode": "vénv-日本",
    "backslash": "a\\b\\n",
    "newline": "a\nb",
    "glob": "*[a]?",
    "dash": "-n",
}


def venv(prefix: Path, name: str = "demo-tool", attribute: str = "main") -> Path:
    """The least of a venv: python, the launcher, and the module where python looks first."""
    folder = prefix / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(PYTHON)
    (folder / "demo_module.py").write_text(MODULE)
    script = folder / name
    script.write_bytes(console_script(name, "demo_module", attribute))
    script.chmod(0o755)
    return script


def run(*command: str | Path, **options: object) -> list[object]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.stderr == ""
    result: list[object] = eval(done.stdout)
    return result


@pytest.mark.parametrize("prefix", AWKWARD.values(), ids=AWKWARD)
def test_a_launcher_runs_wherever_the_venv_lies(prefix: str, tmp_path: Path) -> None:
    script = venv(tmp_path / prefix)
    assert run(script, "x")[0] == ["x"]
    # Relative, so that the path may begin with a dash; sh must not take it for an option.
    assert run(f"{prefix}/bin/demo-tool", "-x", cwd=tmp_path)[0] == ["-x"]


def test_arguments_and_exit_status_pass_through(tmp_path: Path) -> None:
    script = venv(tmp_path / "v")
    arguments = ["a b", "", "line\nline", "'", '"', "$HOME", "--", "-c", "\\", "ü"]
    assert run(script, *arguments)[0] == arguments
    assert subprocess.run([script], env={"STATUS": "7"}, check=False, capture_output=True).returncode == 7


def test_links_to_the_file_and_to_folders_lead_to_the_physical_venv(tmp_path: Path) -> None:
    script = venv(tmp_path / "real venv")
    (tmp_path / "current").symlink_to("real venv")
    (tmp_path / "newer").symlink_to(tmp_path / "current")
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/tool").symlink_to("../newer/bin/demo-tool")
    (tmp_path / "usr/again").symlink_to("tool")
    for path in ("usr/tool", "usr/again", "newer/bin/demo-tool", "current/bin/demo-tool"):
        assert run(tmp_path / path)[2] == str(script.parent)
        assert run(path, cwd=tmp_path)[2] == str(script.parent)


def test_path_lookup_finds_python_beside_the_launcher(tmp_path: Path) -> None:
    script = venv(tmp_path / "v w")
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "python").write_text("#!/bin/sh\nexit 42\n")
    (decoy / "python").chmod(0o755)
    path = f"{decoy}:{script.parent}:{os.environ['PATH']}"
    assert run("sh", "-c", "demo-tool 'a b'", env={"PATH": path})[0] == ["a b"]


def test_a_broken_venv_is_not_run_with_another_python(tmp_path: Path) -> None:
    script = venv(tmp_path / "v")
    (script.parent / "python").unlink()
    done = subprocess.run([script], check=False, capture_output=True)
    assert done.returncode in (126, 127)
    assert b"python" in done.stderr


@pytest.mark.parametrize("name", ["nova-compute", "a-name-of-more-than-fifteen-bytes", "dienst-ü", "it's"])
def test_the_process_has_the_scripts_name(name: str, tmp_path: Path) -> None:
    script = venv(tmp_path / "v", name)
    comm = str(run(script)[1]).encode("utf-8", "surrogateescape")
    assert comm == name.encode()[:15]


def test_a_launcher_is_python_source_that_does_nothing_when_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = venv(tmp_path / "v")
    source = script.read_bytes()
    compile(source, str(script), "exec", dont_inherit=True)
    assert source.decode().isascii()
    before = Path("/proc/self/comm").read_text()
    monkeypatch.syspath_prepend(str(script.parent))
    names = runpy.run_path(str(script))
    assert callable(names["main"])
    assert capfd.readouterr().out == ""
    assert Path("/proc/self/comm").read_text() == before
    sys.modules.pop("demo_module")


def test_nested_attributes_are_called(tmp_path: Path) -> None:
    script = venv(tmp_path / "v", attribute="Tool.Inner.run")
    assert subprocess.run([script], check=True, capture_output=True).stdout == b"inner\n"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_other_shells_as_sh_start_it_too(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    venv(tmp_path / "-v")
    command = [shell, *(["sh"] if shell == "busybox" else []), "-", "-v/bin/demo-tool", "-q", "x y"]
    assert run(*command, cwd=tmp_path)[0] == ["-q", "x y"]


SCRIPT = b'''#!python
"""The docstring."""
from __future__ import annotations
import sys
def typed(value: not_defined_anywhere): ...
print(ascii([sys.argv[1:], __doc__, typed.__annotations__]))
'''


def run_script(script: bytes, prefix: Path, *arguments: str) -> list[object]:
    folder = prefix / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(PYTHON)
    (folder / "tool").write_bytes(script)
    (folder / "tool").chmod(0o755)
    assert run("bin/tool", *arguments, cwd=prefix) == run(folder / "tool", *arguments)
    return run(folder / "tool", *arguments)


@pytest.mark.parametrize("prefix", AWKWARD.values(), ids=AWKWARD)
def test_wheels_scripts_keep_docstring_and_future_imports(prefix: str, tmp_path: Path) -> None:
    result = run_script(relocatable_script(SCRIPT), tmp_path / prefix, "a b", "", "-x")
    assert result == [["a b", "", "-x"], "The docstring.", {"value": "not_defined_anywhere"}]


@pytest.mark.parametrize("first", [b"#!python\n", b"#!pythonw\n", b"#!python\r\n", b"#!python3 -u\n"])
def test_every_form_of_the_first_line_is_replaced(first: bytes, tmp_path: Path) -> None:
    script = relocatable_script(SCRIPT.replace(b"#!python\n", first))
    line, _, rest = script.partition(b"\n")
    assert rest == SCRIPT.partition(b"\n")[2]
    assert len(line) + 1 < 127  # what kernels before 5.1 read of it
    assert b"\r" not in line
    assert run_script(script, tmp_path / "v")[1] == "The docstring."


def test_a_coding_cookie_in_the_second_line_still_counts(tmp_path: Path) -> None:
    source = "#!python\n# -*- coding: latin-1 -*-\nprint(ascii(['é']))\n".encode("latin-1")
    assert run_script(relocatable_script(source), tmp_path / "v") == ["é"]


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"#!/usr/bin/python3\n", b"\x7fELF\0", b"print()\n"]
)
def test_other_scripts_are_left_alone(content: bytes) -> None:
    assert relocatable_script(content) == content


def test_a_script_of_one_line_only() -> None:
    assert relocatable_script(b"#!python").endswith(b"'\n")


HOSTILE = [
    "x = demo:main; import os",
    "x = demo:main()",
    "x = demo:",
    "x = demo",
    "x = demo:main'",
    'x = demo:"main"',
    "x = demo.:main",
    "x = .demo:main",
    "x = os\n  system:main",
    "x = demo:main\n  + 1",
    "x = demo:1main",
    "../../x = demo:main",
    "a/b = demo:main",
    ".. = demo:main",
    "x\x1b[0m = demo:main",
    "x = %(y)s:main",
    "x = demo-tool:main",
    "[",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_hostile_entry_points_are_refused_naming_the_wheel(line: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", entry_points=f"[console_scripts]\n{line}\n")
    with pytest.raises(VenvoyError) as caught:
        layer_of(request_for(wheel))
    assert caught.value.exit_code in (3, 9)
    assert str(caught.value).startswith("demo-1.0-py3-none-any.whl: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "a\0b", "\x7f"])
def test_names_that_are_no_plain_file_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a plain file name"):
        console_script(name, "demo", "main")


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "a;b", "a.", ".a", "a..b", "1a", "a'b", "a\u2028b"])
def test_what_is_no_dotted_name_never_becomes_source(text: str) -> None:
    for module, attribute in ((text, "main"), ("demo", text)):
        with pytest.raises(InvalidInput, match="not a dotted name"):
            console_script("tool", module, attribute)


def test_quotes_in_a_name_stay_data(tmp_path: Path) -> None:
    name = "q'''\"\\\\ ; import os"
    script = venv(tmp_path / "v", name)
    compile(script.read_bytes(), "launcher", "exec")
    assert run(script)[1] == name[:15]
