"""Servers with a Python inside: those that cannot load a venv are named, and no others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributor.ansible.playground import COLLECTIONS

TARGET = "cp311-linux_x86_64-glibc2.36"


@pytest.fixture(autouse=True, scope="module")
def importable() -> Iterator[None]:
    sys.path.insert(0, str(COLLECTIONS))
    yield
    sys.path.remove(str(COLLECTIONS))


def unfit(dest: Path, target: str = TARGET, servers: tuple[Path, ...] = ()) -> list[str]:
    from ansible_collections.venvoy.venvoy.plugins.module_utils.embedding import unfit_servers

    found: list[str] = unfit_servers(str(dest), target, [str(server) for server in servers])
    return found


def venv(root: Path, name: str, minor: int) -> Path:
    made = root / name
    (made / f"lib/python3.{minor}/site-packages").mkdir(parents=True)
    (made / "bin").mkdir()
    (made / "pyvenv.cfg").write_text("home = /usr/bin\n")
    return made


def make_server(place: Path, minor: int | None) -> Path:
    """Link a real program against a library of the name of Python's, or against none."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    place.parent.mkdir(parents=True, exist_ok=True)
    source = place.parent / "server.c"
    source.write_text("int main(void) { return 0; }\n")
    libraries: list[str] = []
    if minor is not None:
        library = place.parent / f"libpython3.{minor}.so"
        stub = [compiler, "-shared", "-x", "c", "/dev/null", "-o", str(library)]
        subprocess.run([*stub, f"-Wl,-soname,libpython3.{minor}.so.1.0"], check=True)
        libraries = ["-Wl,--no-as-needed", str(library)]
    subprocess.run([compiler, str(source), "-o", str(place), *libraries], check=True)
    for path in place.parent.glob("*python*"):
        path.unlink()
    source.unlink()
    return place


def test_uwsgi_of_another_python_is_named(tmp_path: Path) -> None:
    dest = venv(tmp_path, "keystone-1", 11)
    uwsgi = make_server(venv(tmp_path, "uwsgi-1-python3", 12) / "bin/uwsgi", 12)
    assert unfit(dest) == [
        f"{uwsgi} has Python 3.12 inside, and {dest} is for Python 3.11: it cannot load this venv; "
        "install it for the same Python"
    ]
    # A later release's fits: the earlier one is left over.
    make_server(venv(tmp_path, "uwsgi-2-python3", 11) / "bin/uwsgi", 11)
    assert unfit(dest) == []


def test_what_it_loads_counts_before_where_it_stands(tmp_path: Path) -> None:
    dest = venv(tmp_path, "keystone-1", 11)
    make_server(venv(tmp_path, "uwsgi-1", 11) / "bin/uwsgi", 12)
    assert len(unfit(dest)) == 1


def test_one_with_a_python_linked_in_is_of_its_venvs(tmp_path: Path) -> None:
    dest = venv(tmp_path, "keystone-1", 11)
    uwsgi = venv(tmp_path, "uwsgi-1", 10) / "bin/uwsgi"
    make_server(uwsgi, None)
    assert "has Python 3.10 inside" in unfit(dest)[0]
    assert unfit(dest, "cp310-linux_x86_64-glibc2.36") == []


def test_the_servers_own_venv_is_held_against_those_beside_it(tmp_path: Path) -> None:
    dest = venv(tmp_path, "uwsgi-2", 11)
    make_server(dest / "bin/uwsgi", 11)
    assert unfit(dest) == []
    venv(tmp_path, "nova-1", 10)
    assert "all venvs beside it are for 3.10" in unfit(dest)[0]
    venv(tmp_path, "keystone-1", 11)
    assert unfit(dest) == []


def test_named_servers_alone_are_looked_at(tmp_path: Path) -> None:
    dest = venv(tmp_path, "keystone-1", 11)
    make_server(venv(tmp_path, "uwsgi-1", 12) / "bin/uwsgi", 12)
    (tmp_path / "elsewhere").mkdir()
    fits, differs = (make_server(tmp_path / f"elsewhere/unit-{minor}", minor) for minor in (11, 9))
    assert unfit(dest, servers=(fits,)) == []
    assert [line.split(" ")[0] for line in unfit(dest, servers=(fits, differs))] == [str(differs)]


def test_what_is_no_server_is_passed_over(tmp_path: Path) -> None:
    dest = venv(tmp_path, "keystone-1", 11)
    script = venv(tmp_path, "uwsgi-1", 12) / "bin/uwsgi"
    for content in (b"", b"#!/bin/sh\n# libpython3.9.so\n"):
        script.write_bytes(content)
        assert unfit(dest) == []
    assert unfit(dest, servers=(tmp_path / "none",)) == []
    assert unfit(tmp_path / "no/folder/at all") == []
