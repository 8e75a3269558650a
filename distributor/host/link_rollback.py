"""Going back by the link: the venv to which it led before is active again. Both venvs stay as they are.

This is the way back where each release has a destination of its own. Each keeps its own mutable files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from distributor.host.announcing import Announcement, tell
from distributor.host.exclusive import exclusive
from distributor.host.link import flip, is_untold, link_lock, read_flips, set_told, where
from distributor.host.packages import PackageChanges, installed_packages, package_changes
from distributor.host.rollback import RollbackResult, Tell, check_barrier, check_whole
from distributor.host.staged_tree import Report
from distributor.host.status import find_venvs
from distributor.system.processes import find_users
from manifests.atomic_file import sync_directory, write_atomically
from manifests.errors import Locked, NotFound
from manifests.layout import RECEIPT
from manifests.receipt import Receipt, read_receipt


@dataclass(frozen=True, kw_only=True)
class Way:
    """The venv *back* to which a link shall lead, and the one *here*, to which it leads, with their receipts.

    It was gone already where *done*; with *untold*, by a run that told nobody.
    """

    here: Path
    active: Receipt
    back: Path
    receipt: Receipt
    done: bool = False
    untold: bool = False

    @property
    def packages(self) -> PackageChanges:
        """How the packages of the two differ."""
        return package_changes(installed_packages(self.here), installed_packages(self.back))


def roll_back_link(  # noqa: PLR0913 - where to, what that causes, and who is told
    link: Path,
    to: str | None = None,
    *,
    force: bool = False,
    announcement: Announcement | None = None,
    report: Report = lambda *_: None,
    tell_of: Tell = lambda _: None,
) -> RollbackResult:
    """Let *link* lead to the venv that it led to before, or to that of release *to* beside the present one.

    Takes its arguments and raises as ``rollback.roll_back`` does.
    """
    with _locked(link, to) as way:
        if not way.done:
            check_way(way, force=force, report=report)
            owed = _owe(way, announcement)
            flip(link, way.back, action="rollback", release=owed.release, told=False)
        sync_directory(link.parent)  # a killed run may have flipped it without getting there
        result = result_of(link, way)
        if announcement is not None:
            told = tell(way.back, read_receipt(way.back) or way.receipt, announcement)
            result = replace(result, receipt=told.receipt, facts=told.facts, notify=told.notify)
        tell_of(result)
        set_told(link)
    return result


def find_way(link: Path, to: str | None) -> Way:
    """Return where *link* leads, and where it shall. Raises NotFound."""
    place = where(link)
    here = Path(place) if place is not None else link
    active = read_receipt(here) if place is not None else None
    if active is None:
        raise NotFound(f"{link} leads to no venv of Venvoy: there is nothing to go back from")
    flips = read_flips(link)
    last = flips[-1] if flips and flips[-1].after == str(here) else None
    before = Path(last.before) if last is not None and last.before is not None else None
    if to is None and before is not None and is_untold(link):
        # This very command, killed after the flip and run again: not one step further back.
        was = read_receipt(before) or active
        return Way(here=before, active=was, back=here, receipt=active, done=True, untold=True)
    if to is not None and active.release == to:
        return Way(here=here, active=active, back=here, receipt=active, done=True)
    back = _choose(link, here, active, to, before)
    receipt = read_receipt(back)
    if receipt is None or receipt.service != active.service:
        raise NotFound(f"{back} is no venv of {active.service} any more; install it from the store")
    return Way(here=here, active=active, back=back, receipt=receipt)


def check_way(way: Way, *, force: bool, report: Report = lambda *_: None) -> None:
    """Raise Refused or VerificationFailed where it may not, or cannot, be gone."""
    check_barrier(way.here, way.active, force=force)
    report("verify", 0, 0)
    check_whole(way.back, way.receipt)


def result_of(link: Path, way: Way) -> RollbackResult:
    """Return what comes of going *way*, but for what is announced."""
    if way.done and not way.untold:
        return RollbackResult(receipt=way.receipt, before=way.active)
    return RollbackResult(
        receipt=way.receipt,
        before=way.active,
        replaced=way.here,
        packages=way.packages,
        restart_pids=find_users(way.here, [way.here, link]).pids,
    )


@contextmanager
def _locked(link: Path, to: str | None) -> Iterator[Way]:
    """Yield the way, with the venv at its end and the link held: in that order, as installs do."""
    seen = find_way(link, to)
    with exclusive(seen.back), link_lock(link):
        way = find_way(link, to)
        if way.back != seen.back:
            raise Locked(
                f"{link} was flipped by another process meanwhile; look where it leads, and run again"
            )
        yield way


def _owe(way: Way, announcement: Announcement | None) -> Receipt:
    """Note in the venv, before it becomes active, what its becoming so shall cause."""
    if announcement is None:
        return way.receipt
    announcement.list_destination(way.back)
    pending = announcement.owed(way.receipt.identity, way.receipt.pending)
    owing = replace(way.receipt, pending=pending)
    write_atomically(way.back / RECEIPT, owing.to_json())
    return owing


def _choose(link: Path, here: Path, active: Receipt, to: str | None, before: Path | None) -> Path:
    if to is None and before is not None:
        return before
    beside = [
        venv
        for venv in find_venvs([here.parent])
        if venv.receipt.service == active.service and venv.path != here.resolve()
    ]
    for venv in beside:
        if venv.receipt.release == to:
            return venv.path
    have = ", ".join(sorted(venv.receipt.release for venv in beside)) or "none"
    if to is None:
        raise NotFound(
            f"nothing is recorded of where {link} led before; name a release by --to (here: {have})"
        )
    raise NotFound(
        f"no venv of {active.service} of release {to} stands in {here.parent} (there: {have}); "
        "install it from the store"
    )
