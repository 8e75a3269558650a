"""Equal inputs give equal bytes: on other paths, days, users and umasks, with any number of workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builder.interpreters import executable, interpreter
from tests.wheel_factory import make_wheel

ROOT = Path(__file__).parents[2]
MODULE = b"""
import os, sys
NAMES = {"a", "b", None, 1, "c"}
def main(argument=("x", 1.5)):
    return argument in {"one", "two", "three", 4} or {key: os.path for key in sys.argv}
class Thing:
    attribute: "Thing" = None
"""
_NOBODY = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": "/"}
_PYTHON = {"PYTHONOPTIMIZE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "0"}
BUILD = """
import sys
from pathlib import Path
from tests.builder.interpreters import interpreter
from tests.builder.layer_factory import build_artifact, service_build

root, wheels, jobs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
build = service_build(*sorted(wheels.glob("*.whl")), interpreter=interpreter())
built = build_artifact(root, build, jobs=jobs)
print(built.artifact.identity)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("alpha", "beta"):
        files = {f"{name}/m{index}.py": MODULE.replace(b"Thing", b"Thing%d" % index) for index in range(120)}
        # What does not compress, so that the whole is beyond what one process builds alone.
        files[f"{name}/blob.bin"] = bytes((index * index * 7919 >> 5) & 0xFF for index in range(1 << 16)) * 30
        files[f"{name}/__init__.py"] = b""
        make_wheel(
            folder,
            name,
            "1.0",
            files,
            entry_points={f"{name}-run": f"{name}.m1:main", f"{name}-z": f"{name}.m2:main"},
            scripts={f"{name}-script": b"#!python\nprint()\n"},
            data={f"data/etc/{name}.conf": b"x", f"headers/{name}.h": b""},
            compression=0,
        )
    return folder


def build(root: Path, wheels: Path, jobs: int = 1, **options: object) -> dict[str, bytes]:
    """Build in a process of its own and return all files of the output."""
    root.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environment", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-c", BUILD, str(root), str(wheels), str(jobs)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, **options)  # type: ignore[call-overload] # fmt: skip
    assert done.returncode == 0, done.stderr
    out = root / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reference(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    interpreter()
    found = build(tmp_path_factory.mktemp("reference"), wheels)
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    "options",
    [
        {
            "umask": 0o000,
            "environment": {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "1", "HOME": "/"},
        },
        {
            "umask": 0o077,
            "cwd": "/",
            "environment": {"TZ": "America/Lima", "PYTHONHASHSEED": "9", "SOURCE_DATE_EPOCH": "1", **_PYTHON},
        },
    ],
    ids=["open", "closed"],
)
def test_umask_and_environment_do_not_matter(
    options: dict[str, object], wheels: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    assert build(tmp_path / "ä place with spaces", wheels, **dict(options)) == reference


def test_the_number_of_workers_does_not_matter(
    wheels: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    assert build(tmp_path, wheels, 2) == reference


def test_the_wheels_place_day_and_modes_do_not_matter(
    wheels: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    copy = tmp_path / "read-only copy"
    shutil.copytree(wheels, copy)
    for wheel in copy.iterdir():
        os.utime(wheel, (1_000_000_000, 1_000_000_000))
        wheel.chmod(0o400)
    copy.chmod(0o500)
    try:
        assert build(tmp_path / "root", copy) == reference
        assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in wheels.iterdir())
    finally:
        copy.chmod(0o700)


def test_the_user_does_not_matter(wheels: Path, reference: dict[str, bytes], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for command in (
        [sys.executable, "-c", "import tests.builder.layer_factory"],
        [str(executable()), "-c", ""],
    ):
        try:
            subprocess.run(command, **_NOBODY, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)  # type: ignore[call-overload] # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"nobody may not run {command[0]} or read the sources")
    # pytest's own folders are closed to others
    for folder in (tmp_path, *tmp_path.parents[:2], wheels, wheels.parent):
        folder.chmod(folder.stat().st_mode | 0o755)
    root = tmp_path / "root"
    root.mkdir()
    os.chown(root, 65534, 65534)
    assert build(root, wheels, **_NOBODY, environment={"HOME": "/"}) == reference


def test_what_was_built_before_does_not_matter(
    wheels: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    """One wheel first, alone, then the rest: layers from the cache and fresh ones make the same whole."""
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(wheels / "beta-1.0-py3-none-any.whl", first)
    build(tmp_path / "root", first)
    shutil.rmtree(tmp_path / "root/out")
    assert build(tmp_path / "root", wheels) == reference
