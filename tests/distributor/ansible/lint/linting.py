"""Roles as they were at different times, written from their forms, and ansible-lint run over them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

COLLECTION = Path(__file__).parents[4] / "distributor/ansible/ansible_collections/venvoy/venvoy"
RULES = COLLECTION / "extensions/lint/rules"
SOURCES = Path(__file__).parent / "roles"
SERVICES = ("keystone", "nova", "glance", "neutron", "cinder")


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    rule: str
    path: str
    line: int
    message: str
    level: str


def write_roles(era: str, into: Path) -> list[Path]:
    """Write the roles of *era* below *into*: what they have in common, and what each has of its own."""
    names = {path.name for path in (SOURCES / era).iterdir()} - {"common"}
    roles = []
    for service in sorted({*SERVICES, *names}):
        role = into / f"os_{service}"
        for source in (SOURCES / era / "common", SOURCES / era / service):
            for path in sorted(source.rglob("*")) if source.is_dir() else []:
                if path.is_file():
                    target = role / str(path.relative_to(source)).replace("SERVICE", service)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(
                        path.read_text(encoding="utf-8").replace("SERVICE", service), encoding="utf-8"
                    )
        roles.append(role)
    return roles


def lint(folder: Path, *options: str, targets: list[Path], rules: Path = RULES) -> list[Match]:
    """Run ansible-lint in *folder* as people do, and return what it found."""
    pytest.importorskip("ansiblelint", reason="ansible-lint needs Python 3.11")
    home = folder / ".home"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansiblelint",
            "--offline",
            "-f",
            "json",
            "-r",
            str(rules),
            *options,
            *map(str, targets),
        ],
        cwd=folder,
        env={**os.environ, "HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Ignored exception" not in done.stderr, done.stderr
    return [
        Match(
            rule=found["check_name"],
            path=found["location"]["path"],
            line=found["location"].get("lines", found["location"].get("positions"))["begin"],
            message=found["description"],
            level="warning" if found["severity"] == "minor" else "error",
        )
        for found in json.loads(done.stdout)
    ]


def count(matches: list[Match]) -> Counter[str]:
    return Counter(match.rule for match in matches)


def copy(folder: Path, into: Path) -> Path:
    shutil.copytree(folder, into, symlinks=True)
    return into
