"""What may import what. A host installs distributor and manifests alone, and must not pay for more."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("builder", "distributor", "manifests", "service")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORBIDDEN = {
    "manifests": {"builder", "distributor", "service"},
    "builder": {"distributor", "service"},
    "distributor": {"builder", "service"},
    "service": set[str](),
}
MAX_LINES = 300
# What an unchanged install must not load: trust, networks, compression, and the builder.
HEAVY = ("tuf", "securesystemslib", "requests", "zstandard", "builder", "boto3", "cryptography", "virtualenv")
LIGHT = (
    "distributor.commands.install",
    "distributor.commands.status",
    "distributor.commands.verify",
    "distributor.host.install",
    "venvoy",
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> set[str]:
    """Every module that *path* imports, anywhere in it, for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_there_is_something_to_look_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)
    assert "builder.layers.layer" in imports_of(ROOT / "builder/pipeline.py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    wrong = {name for name in imports_of(path) if name.partition(".")[0] in FORBIDDEN[package]}
    assert not wrong
    assert not {
        name for name in imports_of(path) if name.partition(".")[0] in ("venvoy", "tests", "benchmarks")
    }


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_but_the_front_door_imports_commands(path: Path) -> None:
    wrong = {name for name in imports_of(path) if ".commands" in name}
    own = f"{path.relative_to(ROOT).parts[0]}.commands"
    if path.parent.name == "commands":  # a command may share code with its neighbours
        wrong = {name for name in wrong if not name.startswith(own)}
    assert not wrong


@pytest.mark.parametrize("path", [*MODULES, ROOT / "venvoy.py"], ids=name_of)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES


@pytest.mark.parametrize("module", LIGHT)
def test_an_unchanged_install_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert module.partition(".")[0] in loaded
    assert not loaded & set(HEAVY)


def test_help_loads_no_command() -> None:
    code = (
        "import json, sys, venvoy\ntry: venvoy.main(['--help'])\nfinally: print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not [name for name in loaded if ".commands" in name or name.partition(".")[0] in HEAVY]
