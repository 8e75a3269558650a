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
from distributor.siblings import litter
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
        receipt = unchanged(request)
        if receipt is not None and not litter(request.destination):
            return _finished(
                request, InstallResult(changed=False, receipt=receipt, destination=request.destination)
            )
        with exclusive(request.destination) as held:

            def working(step: str, done: int, total: int) -> None:
                held.lock.beat()
                report(step, done, total)

            receipt = unchanged(request)  # somebody else may have done it while we waited
            if receipt is None:
                from distributor.host.installation import install_locked

                return _finished(request, install_locked(request, open_source(), working))
            return _finished(request, _there_already(request, receipt, held.finished))


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
    if receipt is None or (receipt.service, receipt.release) != (request.service, request.release):
        return None
    if receipt.destination != str(request.destination) or request.target not in (None, receipt.target):
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
    if not result.changed:
        from manifests.atomic_file import sync_directory

        # A killed run may have renamed its receipt, or its tree, without getting here.
        sync_directory((request.destination / RECEIPT).parent)
        sync_directory(request.destination.parent)
    if request.link is None:
        return result
    from distributor.host.staging import flip_link

    flipped = flip_link(request.link, request.destination)
    return replace(result, changed=result.changed or flipped, link_flipped=flipped)
