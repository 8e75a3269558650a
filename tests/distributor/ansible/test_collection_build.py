"""The collection as it is built, installed and checked by Ansible's own tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COLLECTION = ROOT / "distributor/ansible/ansible_collections/venvoy/venvoy"
BIN = Path(sys.executable).parent
# ansible-test fetches the script that brings pip into its environments; ensurepip does the same here.
GET_PIP = """
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"])
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


@pytest.fixture(autouse=True)
def _needs_ansible() -> None:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")


def run(
    *command: str | Path, cwd: Path, home: Path, timeout: int = 300, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        **more,
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def copy_of_collection(folder: Path) -> Path:
    """Copy what git would give: no caches, no output of earlier checks."""
    target = folder / "ansible_collections/venvoy/venvoy"
    shutil.copytree(COLLECTION, target, ignore=shutil.ignore_patterns("__pycache__", "output", "*.tar.gz"))
    return target


def test_it_builds_installs_and_is_whole(tmp_path: Path) -> None:
    source = copy_of_collection(tmp_path / "source")
    galaxy = (BIN / "ansible-galaxy", "collection")
    done = run(*galaxy, "build", "--output-path", tmp_path, cwd=source, home=tmp_path)
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("venvoy-venvoy-*.tar.gz")
    installed = tmp_path / "installed"
    done = run(*galaxy, "install", "--offline", built, "-p", installed, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    there = installed / "ansible_collections/venvoy/venvoy"
    expected = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    found = {path.relative_to(there) for path in there.rglob("*") if path.is_file()}
    assert expected - found <= {Path("galaxy.yml")}
    assert {path.name for path in found - expected} == {"MANIFEST.json", "FILES.json"}
    assert Path("extensions/lint/rules/toggle.py") in found


def test_make_builds_it() -> None:
    done = subprocess.run(["make", "-n", "collection"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "ansible-galaxy collection build" in done.stdout


@pytest.mark.slow
def test_ansible_lint_in_its_strictest_profile(tmp_path: Path) -> None:
    collection = copy_of_collection(tmp_path)
    (tmp_path / "home").mkdir()
    done = run(
        *(sys.executable, "-m", "ansiblelint", "--offline", "--profile", "production"),
        cwd=collection,
        home=tmp_path / "home",
        ANSIBLE_COLLECTIONS_PATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stderr


@pytest.mark.slow
def test_ansible_test_sanity(tmp_path: Path) -> None:
    """All of ansible-test's checks that apply, in environments that it makes itself."""
    from ansible_test import _internal

    collection = copy_of_collection(tmp_path)
    home = tmp_path / "home"
    requirements = Path(_internal.__file__).parent / "python_requirements.py"
    for version in re.findall(r"pip='([0-9.]+)'", requirements.read_text(encoding="utf-8")):
        script = home / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(GET_PIP)
    # ansible-test passes no variables on: what pip is told by them goes into its settings.
    settings = [
        f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {value}"
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    ]
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text("\n".join(["[global]", *settings, ""]))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = run(
        *(BIN / "ansible-test", "sanity", "--python", python, "--requirements", "--color", "no"),
        cwd=collection,
        home=home,
        timeout=1800,
    )
    assert done.returncode == 0, "\n".join(
        line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "FATAL" in line
    )
    ran = re.findall(r'Running sanity test "([a-z0-9-]+)"', done.stdout + done.stderr)
    assert {"ansible-doc", "compile", "import", "pep8", "pylint", "validate-modules", "yamllint"} <= set(ran)
