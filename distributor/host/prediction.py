"""What an install or a rollback would do, found out without doing it.

The same questions are asked as by the real run, of the same signed metadata, and in the same order, so
that it fails where that one would fail before it changes anything. Not foretold are what the host's
mutable files become, which layers come from where, and what health checks say: for these the new tree
must be there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.host.exclusive import LOCK_SECONDS, as_host_errors, refuse_planted
from distributor.host.handover import is_unfinished
from distributor.host.install import is_settled, unchanged
from distributor.host.request import InstallRequest, InstallResult, still_running
from distributor.siblings import leads_to, lock_path
from manifests.errors import VerificationFailed
from manifests.pending import NOTHING, Pending
from manifests.receipt import Receipt, read_receipt

if TYPE_CHECKING:
    from distributor.host.announcing import Announcement
    from distributor.host.rollback import RollbackResult
    from distributor.layers.release_source import ReleaseSource


def predict(request: InstallRequest, open_source: Callable[[], ReleaseSource]) -> InstallResult:
    """Return what ``install`` would. Raises what it would raise before it changes anything."""
    with as_host_errors(request.destination), _quiet_moment(request.destination):
        refuse_planted(request.destination)
        receipt = unchanged(request)
        if receipt is not None and is_settled(request, receipt):
            return InstallResult(changed=False, receipt=receipt, destination=request.destination)
        if receipt is not None or is_unfinished(request.destination):
            return _put_right(request, receipt)
        return _installed(request, open_source())


def predict_rollback(
    destination: Path, to: str | None, *, force: bool, announcement: Announcement | None
) -> RollbackResult:
    """Return what ``roll_back`` would. Raises what it would raise before it changes anything."""
    from distributor.host.rollback import RollbackResult, active_receipt, choose

    with _quiet_moment(destination):
        active = active_receipt(destination)
        if to is not None and active.release == to:
            pending = _still_owed(announcement, active.pending)
            return RollbackResult(receipt=active, before=active, facts=pending.facts, notify=pending.notify)
        choice = choose(destination, to, force=force)
        owed = _owed(announcement, choice.receipt.identity, active.pending)
        return RollbackResult(
            receipt=choice.receipt,
            before=active,
            replaced=choice.tree,
            packages=choice.packages,
            facts=owed.facts,
            notify=owed.notify,
        )


def predict_link_rollback(
    link: Path, to: str | None, *, force: bool, announcement: Announcement | None
) -> RollbackResult:
    """Return what ``roll_back_link`` would. Raises what it would raise before it changes anything."""
    from dataclasses import replace

    from distributor.host.link_rollback import check_way, find_way, result_of

    with _quiet_moment(link):
        way = find_way(link, to)
        pending = _still_owed(announcement, way.receipt.pending)
        if not way.done:
            check_way(way, force=force)
            pending = _owed(announcement, way.receipt.identity, pending)
        return replace(result_of(link, way), facts=pending.facts, notify=pending.notify)


def _put_right(request: InstallRequest, receipt: Receipt | None) -> InstallResult:
    """Return what a killed run left to be done: late files, the link, facts and notifications."""
    present = receipt or read_receipt(request.destination)
    if present is None:
        raise VerificationFailed(
            f"{request.destination} lacks its receipt in the middle of a switch; install with --repair"
        )
    flips = _flips(request)
    finished = is_unfinished(request.destination)
    pending = present.pending
    if flips and not finished:
        pending = _owed(request.announcement, present.identity, pending)
    told = _still_owed(request.announcement, pending)
    return InstallResult(
        changed=flips or finished or bool(told),
        receipt=present,
        destination=request.destination,
        link_flipped=flips,
        unpacked=finished,
        facts=told.facts,
        notify=told.notify,
    )


def _installed(request: InstallRequest, source: ReleaseSource) -> InstallResult:
    from distributor.checks.host_check import check_needs, check_space, choose_pin
    from distributor.host.activation import examine
    from distributor.host.installation import (
        check_exchange,
        inherit,
        new_receipt,
        only_noted,
        undeclared_changes,
    )
    from distributor.host.mutable_paths import with_preserved
    from distributor.host.packages import NO_CHANGES, installed_packages, package_changes, packages_in

    pins = source.pins(request.release).find(request.service, request.target)
    pin, interpreter = choose_pin(pins, request.python)
    artifact = source.manifest(pin)
    check_needs(artifact, interpreter)
    request = inherit(request, read_receipt(request.destination))
    mutable = with_preserved(artifact.mutable_paths, request.preserve or {})
    standing = examine(request.destination, mutable, adopt=request.adopt)
    receipt = new_receipt(request, pin, artifact, interpreter, standing)
    noted = only_noted(request, receipt, standing)
    changes: tuple[str, ...] = ()
    packages = NO_CHANGES
    if not noted:
        packages = package_changes(installed_packages(request.destination), packages_in(artifact))
        if request.destination.exists():
            check_exchange(request, standing)
        check_space(artifact, _existing(request.destination.parent))
        changes = undeclared_changes(request, standing)
    before = standing.receipt.pending if standing.receipt else NOTHING
    restart = not noted or _flips(request)
    told = _owed(request.announcement, artifact.identity, before, restart=restart)
    return InstallResult(
        changed=True,
        receipt=receipt,
        destination=request.destination,
        unpacked=not noted,
        link_flipped=_flips(request),
        local_changes=changes,
        restart_pids=() if noted else still_running(request, request.destination),
        notes=source.notes,
        packages=packages,
        facts=told.facts,
        notify=told.notify,
    )


def _owed(
    announcement: Announcement | None, identity: str, before: Pending, *, restart: bool = True
) -> Pending:
    return announcement.owed(identity, before, restart=restart) if announcement else NOTHING


def _still_owed(announcement: Announcement | None, pending: Pending) -> Pending:
    return announcement.still_owed(pending) if announcement else NOTHING


def _flips(request: InstallRequest) -> bool:
    return request.link is not None and not leads_to(request.link, request.destination)


def _existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())


@contextlib.contextmanager
def _quiet_moment(destination: Path) -> Iterator[None]:
    """Wait until nobody changes *destination*; where nobody ever did, there is no lock, nor will there be."""
    path = lock_path(destination)
    if not path.exists():
        yield
        return
    from distributor.system.file_lock import hold_lock

    with hold_lock(path, what=str(destination), timeout=LOCK_SECONDS):
        yield
