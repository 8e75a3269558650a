"""Going back to a tree that was active before: no network, no trust, seconds.

The replaced tree lies beside the destination under a name of its own. It is made ready there (the
host's mutable files of today are carried into it), its receipt is written, and then the two names are
exchanged. A kill at any point leaves the active tree active, or the other one; the next run goes on.

The note of the switch stays until whoever asked for it was told: a run that was killed before that, and
is run again without a release's name, must not go one step further back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from distributor.host.activation import previous_trees
from distributor.host.announcing import Announcement, tell
from distributor.host.exclusive import exclusive
from distributor.host.handover import Finished, announce, close_switch, finish
from distributor.host.history import new_switch, tell_journal
from distributor.host.mutable import Merged, merge
from distributor.host.mutable_paths import with_preserved
from distributor.host.packages import NO_CHANGES, PackageChanges, installed_packages, package_changes
from distributor.host.staged_tree import Report, local_changes, seal
from distributor.siblings import litter
from distributor.system.processes import find_users
from distributor.system.renaming import exchange, probe_exchange
from manifests.artifact import Artifact
from manifests.atomic_file import sync_directory
from manifests.errors import InvalidInput, NotFound, Refused, VerificationFailed
from manifests.layout import MANIFEST, PRISTINE
from manifests.pending import Fact
from manifests.receipt import Receipt, read_receipt


@dataclass(frozen=True, kw_only=True)
class RollbackResult:
    """What came of it. ``replaced`` is where the tree lies that was active before; None: no change.

    ``restart_pids`` are processes that still run from it.
    """

    receipt: Receipt
    before: Receipt
    replaced: Path | None = None
    kept: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    packages: PackageChanges = NO_CHANGES
    facts: tuple[Fact, ...] = ()
    notify: tuple[str, ...] = ()
    restart_pids: tuple[int, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the host is not as it was, or handlers have yet to act on it."""
        return self.replaced is not None or bool(self.facts or self.notify)


Tell = Callable[[RollbackResult], None]
"""Tells who asked for a rollback what came of it."""


def roll_back(  # noqa: PLR0913 - where to, what that causes, and who is told
    destination: Path,
    to: str | None = None,
    *,
    force: bool = False,
    announcement: Announcement | None = None,
    report: Report = lambda *_: None,
    tell_of: Tell = lambda _: None,
) -> RollbackResult:
    """Make the tree that was active before (or that of release *to*) active again.

    *announcement* is what a change shall cause outside of the tree. *tell_of* is called with the result
    before the switch is closed.

    Raises NotFound where there is none, VerificationFailed where it is not whole, Refused where the
    active artifact has a barrier against going back and *force* is not given, OSError from the disk.
    """
    if not litter(destination):
        active_receipt(destination)  # before a lock is made beside something that is none of ours
    with exclusive(destination, close=False) as held:
        result = _rolled_back_already(destination, to, held.finished)
        if result is None:
            close_switch(destination)
            choice = choose(destination, to, force=force, report=report)
            result = _exchange(destination, choice, announcement, report)
        if announcement is not None:
            told = tell(destination, result.receipt, announcement)
            result = replace(result, receipt=told.receipt, facts=told.facts, notify=told.notify)
        tell_of(result)
        close_switch(destination)
    return result


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The tree to go back to with its receipt, and the receipt of the one that is active now."""

    tree: Path
    receipt: Receipt
    active: Receipt

    @property
    def packages(self) -> PackageChanges:
        """How the packages of the two differ."""
        before = installed_packages(Path(self.active.destination))
        return package_changes(before, installed_packages(self.tree))


def active_receipt(destination: Path) -> Receipt:
    """Return the receipt of what is active. Raises NotFound."""
    active = read_receipt(destination)
    if active is None:
        raise NotFound(f"{destination} has no receipt of Venvoy: there is nothing to go back from")
    return active


def choose(
    destination: Path, to: str | None, *, force: bool = False, report: Report = lambda *_: None
) -> Choice:
    """Return what to go back to, after checking that it may and can be done. Changes nothing that stays."""
    active = active_receipt(destination)
    tree, receipt = _choose(destination, active, to)
    check_barrier(destination, active, force=force)
    report("verify", 0, 0)
    check_whole(tree, receipt)
    why = probe_exchange(destination)
    if why is not None:
        raise Refused(f"{why}: a venv there cannot be rolled back in place")
    return Choice(tree=tree, receipt=receipt, active=active)


def _rolled_back_already(
    destination: Path, to: str | None, finished: Finished | None
) -> RollbackResult | None:
    active = active_receipt(destination)
    if to is not None and active.release == to:
        sync_directory(destination.parent)  # a killed run may have exchanged without getting there
        return RollbackResult(receipt=active, before=active)
    if to is None and finished is not None and active.history[-1].action == "rollback":
        # This very command, killed after the exchange and run again: not one step further back.
        before = (read_receipt(finished.replaced) if finished.replaced else None) or active
        return RollbackResult(
            receipt=active,
            before=before,
            replaced=finished.replaced,
            kept=finished.kept,
            restart_pids=_still_running(destination, finished.replaced),
        )
    return None


def _exchange(
    destination: Path, choice: Choice, announcement: Announcement | None, report: Report
) -> RollbackResult:
    tree, receipt, active = choice.tree, choice.receipt, choice.active
    packages = choice.packages
    merged = _make_ready(destination, tree, receipt)
    announce(tree, destination, merged)
    pending = active.pending
    if announcement is not None:
        announcement.list_destination(destination)
        pending = announcement.owed(receipt.identity, pending)
    switch = new_switch("rollback", receipt.release, receipt.identity, before=active.release)
    ready = replace(
        receipt, replaced=active.install_id, history=(*active.history, switch)[-100:], pending=pending
    )
    seal(tree, ready, report)
    exchange(tree, destination)
    sync_directory(destination.parent)
    tell_journal(destination, switch)
    late = finish(destination, close=False)
    if late is not None:
        merged.kept.extend(late.kept)
    return RollbackResult(
        receipt=ready,
        before=active,
        replaced=tree,
        kept=tuple(sorted(merged.kept)),
        aside=tuple(merged.aside),
        packages=packages,
        restart_pids=_still_running(destination, tree),
    )


def _still_running(destination: Path, replaced: Path | None) -> tuple[int, ...]:
    return find_users(replaced, [destination]).pids if replaced else ()


def _choose(destination: Path, active: Receipt, to: str | None) -> tuple[Path, Receipt]:
    trees = previous_trees(destination)
    if to is None and trees:
        return trees[0]
    for tree, receipt in trees:
        if receipt.release == to:
            return tree, receipt
    have = ", ".join(receipt.release for _, receipt in trees) or "none"
    wanted = f"release {to}" if to else "an earlier tree"
    raise NotFound(f"{wanted} is not kept beside {destination} (kept: {have}); install it from the store")


def check_barrier(destination: Path, active: Receipt, *, force: bool) -> None:
    """Raise Refused where the *active* release has a barrier against going back, but not with *force*."""
    barrier = _manifest(destination).rollback_barrier
    if barrier and not force:
        raise Refused(
            f"release {active.release} of {active.service} says: {barrier}\n"
            "going back does not undo that; --force if you know that it works"
        )


def check_whole(tree: Path, receipt: Receipt) -> None:
    """Raise VerificationFailed unless *tree* is what was installed, and its interpreter is still there.

    Bound files name the destination, not the place where the tree lies, and are compared as such.
    """
    changes = local_changes(tree, receipt)
    if changes:
        shown = ", ".join(changes[:5]) + (" ..." if len(changes) > 5 else "")
        raise VerificationFailed(f"{tree} is not whole, so nothing goes back to it: {shown}")
    if not Path(receipt.python).exists():
        raise VerificationFailed(f"{tree} is bound to {receipt.python}, which is gone; install it again")


def _make_ready(destination: Path, tree: Path, receipt: Receipt) -> Merged:
    """Give the old tree the host's mutable files of today, as an upgrade would."""
    artifact = _manifest(tree)
    mutable = with_preserved(artifact.mutable_paths, receipt.preserve)
    for item in mutable:
        place, pristine = tree / item.path, tree / PRISTINE / item.path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        if pristine.is_dir():
            shutil.copytree(pristine, place, symlinks=True)
        elif pristine.exists():
            shutil.copy2(pristine, place, follow_symlinks=False)
    return merge(destination, tree, mutable)


def _manifest(tree: Path) -> Artifact:
    try:
        return Artifact.from_json((tree / MANIFEST).read_bytes(), what=str(tree / MANIFEST))
    except (OSError, InvalidInput) as error:
        raise VerificationFailed(f"{tree / MANIFEST} cannot be read: {error}") from error
