"""What may go: replaced trees that nobody uses and that are older than the last few."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributor.activation import previous_trees
from distributor.install import exclusive
from distributor.processes import find_users
from distributor.siblings import previous_paths
from distributor.status import find_venvs
from manifests.receipt import Receipt, read_receipt


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One replaced tree, whether it goes, why, and the bytes on disk that it holds."""

    path: Path
    release: str
    removed: bool
    why: str
    size: int


def collect(places: Sequence[Path], *, keep: int, dry_run: bool) -> list[Decision]:
    """Remove the replaced trees of all venvs at *places* but the last *keep* of each, and those in use.

    With *dry_run* nothing is removed, and the answer is what would be. Raises OSError, NotFound.
    """
    decisions = []
    for venv in find_venvs(places):
        if not previous_paths(venv.path):
            continue
        with exclusive(venv.path):
            decisions += _collect_one(venv.path, venv.receipt, venv.links, keep, dry_run)
    return decisions


def _collect_one(
    destination: Path, active: Receipt, links: Sequence[Path], keep: int, dry_run: bool
) -> list[Decision]:
    whole = previous_trees(destination)
    kept = {path: f"one of the last {keep}" for path, _ in whole[:keep]}
    switched = (
        datetime.datetime.fromisoformat(active.history[-1].when).timestamp() if active.history else None
    )
    decisions = []
    for path in previous_paths(destination):
        receipt = read_receipt(path)
        release = receipt.release if receipt else ""
        why = kept.get(path) or _in_use(path, [destination, *links], switched)
        size = tree_size(path)
        if why is None and not dry_run:
            # Under a staging name first: a kill half-way leaves litter, never half a tree to go back to.
            _remove(destination, path)
        decisions.append(
            Decision(path=path, release=release, removed=why is None, why=why or "nobody uses it", size=size)
        )
    return decisions


def _in_use(tree: Path, names: Sequence[Path], switched: float | None) -> str | None:
    use = find_users(tree, names, switched)
    if use.pids:
        return f"in use by process {', '.join(map(str, use.pids[:5]))}"
    return None if use.complete else "some processes could not be looked at; run as root"


def _remove(destination: Path, tree: Path) -> None:
    from distributor.siblings import staging_path

    doomed = staging_path(destination)
    tree.rename(doomed)
    shutil.rmtree(doomed)


def tree_size(tree: Path) -> int:
    """Return the bytes that *tree* occupies on disk."""
    total = 0
    pending = [str(tree)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                total += status.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return total
