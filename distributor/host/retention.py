"""What may go: replaced trees that nobody uses or holds and that are older than the last few."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distributor.host.activation import previous_trees
from distributor.host.exclusive import exclusive
from distributor.host.status import InstalledVenv, PreviousTree, find_venvs
from distributor.siblings import lock_path, staging_path
from distributor.system.disk_errors import disk_errors
from distributor.system.processes import Use, look
from manifests.atomic_file import sync_directory
from manifests.errors import VenvoyError
from manifests.layout import PRIVATE, RECEIPT
from manifests.receipt import read_receipt

_LEFT = "left by an interrupted run"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One tree, whether it goes, and why.

    ``size`` is in bytes: those that a removal frees on disk; of a tree that stays, its artifact's.
    """

    path: Path
    release: str
    removed: bool
    why: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A venv whose trees could not be treated, and why."""

    path: Path
    error: VenvoyError


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was decided of each tree, and the venvs that failed."""

    decisions: tuple[Decision, ...]
    failures: tuple[Failure, ...]


def collect(places: Sequence[Path], *, keep: int, dry_run: bool) -> Collected:
    """Remove the replaced trees of all venvs at *places* but the last *keep* of each, those held or used.

    What interrupted runs left goes too. With *dry_run* nothing changes on the host, and the answer is
    what would be. A venv that fails does not keep the others from being treated. Raises NotFound for a
    place that does not exist, OSError where none can be looked at.
    """
    decisions: list[Decision] = []
    failures: list[Failure] = []
    venvs = [venv for venv in find_venvs(places) if venv.previous or venv.litter]
    # One look at /proc tells where there is nothing to do. What goes is looked at again, under the lock.
    uses = _uses(venvs, keep)
    for venv in venvs:
        try:
            with disk_errors(f"clean up beside {venv.path}"):
                if dry_run:
                    decisions += _decide(venv, keep, uses)
                    decisions += [_decision(path, "", _LEFT, size=tree_size(path)) for path in _litter(venv)]
                elif venv.litter or _doomed(venv, keep, uses):
                    decisions += _collect_one(venv, keep)
                else:
                    decisions += _decide(venv, keep, uses)
        except VenvoyError as error:
            failures.append(Failure(path=venv.path, error=error))
    return Collected(decisions=tuple(decisions), failures=tuple(failures))


def _collect_one(seen: InstalledVenv, keep: int) -> list[Decision]:
    """Sweep and remove beside one venv, holding its lock; all is looked at anew."""
    left = {path: (path.lstat().st_ino, tree_size(path)) for path in seen.litter if os.path.lexists(path)}
    with exclusive(seen.path):
        here = {path.lstat().st_ino for path in (seen.path, *(tree for tree, _ in previous_trees(seen.path)))}
        decisions = [
            _decision(path, "", _LEFT, size=size)
            for path, (inode, size) in left.items()
            if not os.path.lexists(path)
            and inode not in here  # what was put aside, or in place, is no litter
        ]
        for found in find_venvs([seen.path]):
            venv = replace(found, links=tuple(sorted({*found.links, *seen.links})))
            decided = _decide(venv, keep, _uses([venv], keep))
            for item in decided:
                if item.removed:
                    _remove(venv.path, item.path)
            decisions += decided
    return decisions


def _decide(venv: InstalledVenv, keep: int, uses: dict[Path, Use]) -> list[Decision]:
    decisions = []
    for tree in venv.previous:
        release = tree.receipt.release if tree.receipt else ""
        why = _kept(venv, tree, keep) or _in_use(uses[tree.path])
        if why is None:
            decisions.append(_decision(tree.path, release, "nobody uses it", size=tree_size(tree.path)))
        else:
            size = tree.receipt.unpacked_size if tree.receipt else 0
            decisions.append(Decision(path=tree.path, release=release, removed=False, why=why, size=size))
    return decisions


def _decision(path: Path, release: str, why: str, *, size: int) -> Decision:
    return Decision(path=path, release=release, removed=True, why=why, size=size)


def _uses(venvs: Sequence[InstalledVenv], keep: int) -> dict[Path, Use]:
    """Return who uses each tree that nothing else keeps."""
    asked = [(venv, tree) for venv in venvs for tree in venv.previous if not _kept(venv, tree, keep)]
    found = look([venv.question(tree) for venv, tree in asked])
    return {tree.path: use for (_, tree), use in zip(asked, found, strict=True)}


def _doomed(venv: InstalledVenv, keep: int, uses: dict[Path, Use]) -> bool:
    return any(not _kept(venv, tree, keep) and not _in_use(uses[tree.path]) for tree in venv.previous)


def _kept(venv: InstalledVenv, tree: PreviousTree, keep: int) -> str | None:
    if tree.hold is not None:
        return str(tree.hold)
    if tree.receipt is not None and venv.previous.index(tree) < keep:
        return f"one of the last {keep}"
    return None


def _in_use(use: Use) -> str | None:
    if use.pids:
        return f"in use by process {', '.join(map(str, use.pids[:5]))}"
    return None if use.complete else "some processes could not be looked at; run as root"


def _litter(venv: InstalledVenv) -> list[Path]:
    """Return what a sweep would remove: nothing that a run is at work on, and no replaced tree."""
    if not venv.litter or _is_locked(venv.path):
        return []
    return [path for path in venv.litter if not _is_replaced(venv, path)]


def _is_replaced(venv: InstalledVenv, path: Path) -> bool:
    """Whether this is the tree that the active one replaced, under a name that a kill left it with."""
    from distributor.host.handover import replaced_tree

    receipt = None if path.is_symlink() else read_receipt(path)
    known = receipt is not None and receipt.install_id == venv.receipt.replaced
    return known or replaced_tree(venv.path) == path


def _is_locked(destination: Path) -> bool:
    try:
        descriptor = os.open(lock_path(destination), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(destination: Path, tree: Path) -> None:
    # Under a staging name first, and without its receipt, both on disk: a kill half-way leaves litter,
    # which the next run sweeps, and never half a tree that looks like one to go back to.
    doomed = staging_path(destination)
    tree.rename(doomed)
    sync_directory(destination.parent)
    if (doomed / RECEIPT).exists():
        (doomed / RECEIPT).unlink()
        sync_directory(doomed / PRIVATE)
    shutil.rmtree(doomed)


def tree_size(tree: Path) -> int:
    """Return the bytes on disk that a removal of *tree* frees: not those of files that others link to."""
    total = tree.lstat().st_blocks * 512
    shared: dict[tuple[int, int], list[int]] = {}
    pending = [str(tree)] if tree.is_dir() and not tree.is_symlink() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif status.st_nlink > 1:
                    seen = shared.setdefault((status.st_dev, status.st_ino), [])
                    seen.append(status.st_blocks)
                    if len(seen) < status.st_nlink:
                        continue
                total += status.st_blocks * 512
    return total
