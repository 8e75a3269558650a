"""Nothing is timed that did not work: what a run left is held against what it should have left."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from benchmarks.measure import BenchmarkError


def same_venvs(ours: Path, theirs: Path, distributions: int) -> None:
    """Raise BenchmarkError unless both venvs hold the same distributions, files and compiled modules.

    Compared is site-packages but for the installers' own notes in ``*.dist-info``.
    """
    ours, theirs = site_packages(ours), site_packages(theirs)
    mine, other = installed(ours), installed(theirs)
    if mine != other or len(mine) != distributions:
        raise BenchmarkError(
            f"{len(mine)} and {len(other)} distributions, expected {distributions}; "
            f"in one only: {sorted(mine ^ other)[:5]}"
        )
    _same(_files(ours), _files(theirs), "venvs")


def same_trees(ours: Path, theirs: Path) -> None:
    """Raise BenchmarkError unless both trees are equal: paths, modes, contents, links."""
    _same(_everything(ours), _everything(theirs), "unpacked trees")


def installed(site: Path) -> set[str]:
    """Return the distributions in a site-packages directory."""
    return {path.name for path in site.glob("*.dist-info") if (path / "METADATA").is_file()}


def site_packages(venv: Path) -> Path:
    """Return the site-packages directory of *venv*."""
    found = list(venv.glob("lib/python3*/site-packages"))
    if len(found) != 1:
        raise BenchmarkError("a venv has no site-packages")
    return found[0]


def count_modules(venv: Path) -> tuple[int, int]:
    """Return how many modules a venv holds, and how many of them compiled."""
    site = site_packages(venv)
    return sum(1 for _ in site.rglob("*.py")), sum(1 for _ in site.rglob("*.pyc"))


def tree_bytes(root: Path) -> int:
    """Return the bytes in all files below *root*."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _same(ours: dict[str, str], theirs: dict[str, str], what: str) -> None:
    wrong = sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))
    if wrong or not ours:
        raise BenchmarkError(f"the {what} differ in {len(wrong)} paths: {', '.join(wrong[:5])}")


def _files(site: Path) -> dict[str, str]:
    """Return what is comparable: contents, but of ``.pyc`` (kinds differ) only that they are there.

    uv writes a few lines of its own; pip's and uv's ``.pyc`` are dated, ours are hashed.
    """
    files = {}
    for path in site.rglob("*"):
        name = path.relative_to(site).as_posix()
        if (
            path.is_dir()
            or ".dist-info/" in name
            or name.startswith(("_virtualenv.", "__pycache__/_virtualenv."))
        ):
            continue
        files[name] = "compiled" if name.endswith(".pyc") else _digest(path)
    return files


def _everything(root: Path) -> dict[str, str]:
    entries = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = _digest(path)
        else:
            content = ""
        entries[path.relative_to(root).as_posix()] = f"{status.st_mode:o} {content}"
    return entries


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
