"""Install: from a release's name to a venv at its destination, whole or not at all.

The order on disk is the contract: lock, sweep, verify and unpack into a fresh private sibling, bind,
carry the host's files over, check, sync the file system, write the receipt last, rename or exchange,
sync the parent, carry over what was written meanwhile, flip the link. A kill at any point leaves the
destination as it was or as it shall be; the next run sweeps and goes on.

A venv whose receipt names the wanted release is left alone, and nothing of stores, trust or
networks is imported to find that out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.host.exclusive import as_host_errors, exclusive, refuse_planted
from distributor.host.request import InstallRequest, InstallResult, still_running
from distributor.siblings import leads_to, litter
from manifests.layout import HANDOVER, RECEIPT
from manifests.receipt import Receipt, read_receipt

if TYPE_CHECKING:
    from distributor.host.handover import Finished
    from distributor.host.staged_tree import Report
    from distributor.layers.release_source import ReleaseSource


def install(
    request: InstallRequest, open_source: Callable[[], ReleaseSource], report: Report = lambda *_: None
) -> InstallResult:
    """Install what *request* says; *open_source* is called only where the receipt does not suffice.

    Raises a VenvoyError; the destination then is what it was before.
    """
    with as_host_errors(request.destination):
        refuse_planted(request.destination)
        if request.link is not None:
            from distributor.host.link import check_link

            check_link(request.link)
        receipt = unchanged(request)
        if receipt is not None and is_settled(request, receipt):
            return _settled(request, receipt)
        with exclusive(request.destination) as held:

            def working(step: str, done: int, total: int) -> None:
                held.lock.beat()
                report(step, done, total)

            receipt = unchanged(request)  # somebody else may have done it while we waited
            if receipt is None:
                from distributor.host.installation import install_locked

                return _finished(request, install_locked(request, open_source(), working))
            return _finished(request, _there_already(request, receipt, held.finished))


def is_settled(request: InstallRequest, receipt: Receipt) -> bool:
    """Whether nothing is owed, left behind or linked elsewhere around a venv that is as wanted."""
    if receipt.pending or litter(request.destination):
        return False
    link = request.link
    return link is None or (leads_to(link, request.destination) and not litter(link))


def _same_files(request: InstallRequest, receipt: Receipt) -> bool:
    """Whether what stands beside the artifact's files is what is wanted, and untouched."""
    if request.link_packages not in (None, receipt.link_packages):
        return False
    if not request.files and not receipt.files:
        return True
    from distributor.host.extra_files import digests, touched

    same = request.files is None or receipt.files == digests(request.files)
    return same and not touched(request.destination, receipt)


def _settled(request: InstallRequest, receipt: Receipt) -> InstallResult:
    """Report that all is as wanted, after bringing to disk what a killed run may have renamed only."""
    from manifests.atomic_file import sync_directory

    sync_directory((request.destination / RECEIPT).parent)
    sync_directory(request.destination.parent)
    if request.link is not None:
        sync_directory(request.link.parent)
    return InstallResult(changed=False, receipt=receipt, destination=request.destination)


def _there_already(request: InstallRequest, receipt: Receipt, finished: Finished | None) -> InstallResult:
    """Report what a killed run had switched, and this one finished: a change that nobody was told of."""
    if finished is None:
        return InstallResult(changed=False, receipt=receipt, destination=request.destination)
    return InstallResult(
        changed=True,
        receipt=receipt,
        destination=request.destination,
        unpacked=True,
        replaced=finished.replaced,
        kept=finished.kept,
        restart_pids=still_running(request, finished.replaced),
    )


def unchanged(request: InstallRequest) -> Receipt | None:
    """Return the receipt if the destination already is what *request* wants, else None."""
    if request.repair:
        return None
    receipt = read_receipt(request.destination)
    wanted = (request.service, request.release, str(request.destination))
    if receipt is None or (receipt.service, receipt.release, receipt.destination) != wanted:
        return None
    if request.target not in (None, receipt.target) or not _same_files(request, receipt):
        return None
    python = Path(receipt.python)
    if request.python is not None and os.path.realpath(request.python) != os.path.realpath(python):
        return None
    try:
        bound = (request.destination / "bin/python").readlink() == python and python.exists()
        bound = bound and not (request.destination / HANDOVER).exists()  # else the switch is not finished
    except OSError:
        return None
    return receipt if bound else None


def _finished(request: InstallRequest, result: InstallResult) -> InstallResult:
    """Flip the link and tell who must know; the caller holds the destination's lock."""
    from distributor.host.announcing import tell
    from distributor.host.link import flip_link

    if not result.changed:
        _settled(request, result.receipt)
    receipt, flipped = result.receipt, False
    if request.link is not None:
        if not result.unpacked and not leads_to(request.link, request.destination):
            receipt = _owe_restart(request, receipt)
        flipped = flip_link(request.link, request.destination, request.release)
    if request.announcement is None:
        return replace(result, changed=result.changed or flipped, link_flipped=flipped)
    told = tell(request.destination, receipt, request.announcement)
    return replace(
        result,
        receipt=told.receipt,
        changed=result.changed or flipped or bool(told.facts or told.notify),
        link_flipped=flipped,
        facts=told.facts,
        notify=told.notify,
    )


def _owe_restart(request: InstallRequest, receipt: Receipt) -> Receipt:
    """Note what a link that moves to a tree which is there already will cause, before it moves."""
    if request.announcement is None:
        return receipt
    from manifests.atomic_file import write_atomically

    request.announcement.list_destination(request.destination)
    owing = replace(receipt, pending=request.announcement.owed(receipt.identity, receipt.pending))
    write_atomically(request.destination / RECEIPT, owing.to_json())
    return owing
