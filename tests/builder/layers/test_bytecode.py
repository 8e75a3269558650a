from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from builder.layers import bytecode
from builder.layers.bytecode import FILES_PER_REQUEST, BytecodeCompiler, pyc_path
from builder.layers.layer import LAYER_FORMAT
from manifests.errors import HostUnsuitable
from manifests.target import Target
from tests.builder.interpreters import PYTHONS, executable, interpreter, target_of
from tests.builder.layer_factory import layer_of, request_for, unpack
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Names that the interpreter interns itself, numbers, sets, nested code: what marshal treats specially.
SOURCES = [
    (
        f"pkg/module_{index}.py",
        f"""
import os, sys
__all__ = ["name_{index}", "path", "self"]
NAMES = {{"a", "b", "path_{index}", "value"}}
def name_{index}(self, path="path", *, value=(1, 2.5, None, "value", b"raw")):
    def inner(): return path, value, {index}
    return [x for x in NAMES if x in {{"one", "two", "three", "path"}}] + [inner, os.path, sys.argv]
class Thing_{index}:
    "Docstring."
    name: str = "value"
    def path(self): return self.name
""".encode(),
    )
    for index in range(30)
]


@pytest.fixture(params=PYTHONS)
def compiler(request: pytest.FixtureRequest) -> Iterator[BytecodeCompiler]:
    server = BytecodeCompiler(executable(request.param))
    yield server
    server.close()


def compiled(python: str, sources: list[tuple[str, bytes]]) -> list[bytes]:
    server = BytecodeCompiler(executable(python))
    try:
        return list(server.compile(sources))
    finally:
        server.close()


def test_pyc_are_hash_based_and_checked(compiler: BytecodeCompiler) -> None:
    for pyc in compiler.compile(SOURCES):
        assert int.from_bytes(pyc[4:8], "little") == 0b11


def test_two_servers_give_equal_bytes_whatever_they_did_before() -> None:
    for python in PYTHONS:
        first = compiled(python, SOURCES)
        busy = BytecodeCompiler(executable(python))
        for start in (20, 3, 11):  # other batches, in another order
            list(busy.compile(SOURCES[start : start + 7]))
        assert list(busy.compile(SOURCES)) == first
        busy.close()


def test_the_place_in_a_batch_may_matter_but_its_split_is_fixed() -> None:
    """A batch is the unit that is pure: it is cut by count and size, never by the machine's cores."""
    many = [(f"m{index}.py", SOURCES[index % 30][1]) for index in range(FILES_PER_REQUEST + 20)]
    assert compiled("cp311", many)[:FILES_PER_REQUEST] == compiled("cp311", many[:FILES_PER_REQUEST])
    assert compiled("cp311", many)[FILES_PER_REQUEST:] == compiled("cp311", many[FILES_PER_REQUEST:])
    assert LAYER_FORMAT >= 1


# A codec that this source makes the interpreter import, and a name that then lives in the process.
IMPORTS_A_CODEC = b"# coding: cp037\n"
USES_ITS_NAME = b"decoding_table = 1\n"


@pytest.mark.parametrize("python", PYTHONS)
def test_each_request_is_compiled_in_a_fresh_process(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its negative control: why the server forks.

    marshal marks an object that somebody else refers to as well, such as a name in a module that an
    earlier source made the interpreter import. Since 3.11 names are marked always; that this is so
    nobody promises.
    """

    def after_another() -> tuple[bytes, bytes]:
        server = BytecodeCompiler(executable(python))
        (fresh,) = server.compile([("m.py", USES_ITS_NAME)])
        list(server.compile([("codec.py", IMPORTS_A_CODEC)]))
        (after,) = server.compile([("m.py", USES_ITS_NAME)])
        server.close()
        return fresh, after

    fresh, after = after_another()
    assert fresh == after
    text = bytecode._server_source()
    assert text.count("child = posix.fork()") == 1
    without = text.replace("child = posix.fork()", "answer(files)\n        continue")
    monkeypatch.setattr(bytecode, "_server_source", lambda: without)
    unforked, unforked_after = after_another()
    assert unforked == fresh
    assert (unforked != unforked_after) == (python == "cp310")


def test_sets_of_constants_do_not_follow_the_memory_layout() -> None:
    """None and Ellipsis hash by address before 3.12, and 3.10 marshals sets in the order of hashes."""
    source = b"def f(x): return x in {None, ..., 1, 'a', 'b', 'c', b'q', 2.5, (None, 'x')}\n"
    for python in PYTHONS:
        found = {compiled(python, [("m.py", source)])[0] for _ in range(6)}
        assert len(found) == 1
        assert (found == {b""}) == (python == "cp310")
    plain = compiled("cp310", [("m.py", b"def f(x): return x in {'a', 'b', 'c', 1, (2, 'x')}\n")])
    assert plain[0]


@pytest.mark.parametrize(
    "source",
    [
        b"def (:\n",
        b"print 'two'\n",
        b"x = '\xff'\n",
        b"# coding: no-such-codec\nx = 1\n",
        b"# coding: rot13\nk = 1\n",
        b"# coding: undefined\nk = 1\n",
        b"\0",
        b"(" * 5000,
        b"-" * 200_000 + b"1",
        b"x = " + b"[" * 150 + b"]" * 150 + b" +",
        b"return 1\n",
        b"x" + b".a" * 100_000,
        b"+".join([b"1"] * 20_000),
    ],
    ids=lambda source: repr(source[:12]),
)
def test_what_does_not_compile_is_left_without_and_harms_nobody(
    source: bytes, compiler: BytecodeCompiler
) -> None:
    before, _, after = compiler.compile([("a.py", b"x = 1\n"), ("bad.py", source), ("c.py", b"y = 2\n")])
    assert before
    assert after


def test_sources_in_other_encodings_compile(compiler: BytecodeCompiler) -> None:
    latin = "# coding: latin-1\nx = 'é'\n".encode("latin-1")
    assert all(compiler.compile([("a.py", latin), ("b.py", b"\xef\xbb\xbfx = 1\n"), ("c.py", b"")]))


@pytest.mark.parametrize("python", PYTHONS)
def test_a_patched_source_takes_effect_at_the_next_import(python: str, tmp_path: Path) -> None:
    found = interpreter(python)
    target = target_of(python)
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo.py": b"value = 'shipped'\n"})
    _, data = layer_of(request_for(wheel, target=target, interpreter=found))
    site = unpack(tmp_path / "venv", data) / target.site_packages

    def value() -> list[str]:
        code = "import demo, sys; print(demo.value, sys.modules['demo'].__cached__)"
        environment = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([found.executable, "-v", "-c", code], env=environment, cwd="/", check=True, capture_output=True, text=True)  # fmt: skip # noqa: E501
        loaded = any("matches" in line and "demo" in line for line in done.stderr.splitlines())
        return [*done.stdout.split()[:1], "pyc" if loaded else "source"]

    assert value() == ["shipped", "pyc"]
    stat = (site / "demo.py").stat()
    (site / "demo.py").write_text("value = 'patched'\n")
    os.utime(site / "demo.py", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and times as before
    assert value() == ["patched", "source"]


def test_co_filename_is_the_real_path_once_imported(tmp_path: Path) -> None:
    found = interpreter()
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo.py": b"def f(): raise ValueError\n"})
    record, data = layer_of(request_for(wheel, interpreter=found))
    assert "lib/python3.11/site-packages/__pycache__/demo.cpython-311.pyc" in record.files
    site = unpack(tmp_path / "venv", data) / "lib/python3.11/site-packages"
    code = "import demo; print(demo.f.__code__.co_filename)"
    done = subprocess.run([found.executable, "-c", code], env={"PYTHONPATH": str(site)}, cwd="/", check=True, capture_output=True, text=True)  # fmt: skip # noqa: E501
    assert done.stdout.strip() == str(site / "demo.py")


def test_a_killed_server_is_one_clear_error() -> None:
    server = BytecodeCompiler(executable())
    list(server.compile(SOURCES[:1]))
    process = server._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(HostUnsuitable, match=r"ended .* while compiling"):
        list(server.compile(SOURCES))
    assert len(list(server.compile(SOURCES[:3]))) == 3  # the next request starts another one
    server.close()


def test_an_interpreter_that_cannot_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HostUnsuitable, match=r"cannot run .*/none to compile"):
        list(BytecodeCompiler(tmp_path / "none").compile(SOURCES))
    false = tmp_path / "python"
    false.write_text("#!/bin/sh\nexit 3\n")
    false.chmod(0o755)
    with pytest.raises(HostUnsuitable, match=r"ended \(status 3\)"):
        list(BytecodeCompiler(false).compile(SOURCES))


def test_nothing_of_the_callers_folder_or_environment_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "marshal",
        "gc",
        "posix",
        "_imp",
        "sitecustomize",
        "usercustomize",
        "encodings",
        "site",
        "bz2",
        "zlib",
        "codecs",
    ):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'imported')!r}, 'w')\nraise SystemExit(9)\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "gc.py"))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    found = compiled("cp311", SOURCES)
    # A codec that imports more of the standard library, which the source may ask for
    compiled("cp311", [("m.py", b"# coding: bz2\nx = 1\n"), ("n.py", b"# coding: zlib\nx = 1\n")])
    assert not (tmp_path / "imported").exists()
    monkeypatch.undo()
    assert compiled("cp311", SOURCES) == found


def test_sources_are_compiled_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    assert compiled("cp311", [("m.py", f"open({str(mark)!r}, 'w')\n".encode())])[0]
    assert not mark.exists()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("demo.py", "cp311", "__pycache__/demo.cpython-311.pyc"),
        ("a/b/c.d.py", "cp310", "a/b/__pycache__/c.d.cpython-310.pyc"),
        ("a/x.py", "cp313t", "a/__pycache__/x.cpython-313t.pyc"),
    ],
)
def test_pyc_paths(source: str, target: str, expected: str) -> None:
    assert pyc_path(source, Target.parse(f"{target}-linux_x86_64-glibc2.36")) == expected
