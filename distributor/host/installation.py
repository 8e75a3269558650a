"""What an install does under the lock of its destination, from signed pins to the switch."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path, PurePath

from distributor.checks.host_check import check_needs, check_space, choose_pin
from distributor.host.activation import Place, Standing, activate, examine
from distributor.host.extra_files import digests, renew_files, touched
from distributor.host.handover import finish
from distributor.host.history import new_switch, tell_journal
from distributor.host.mutable import Merged
from distributor.host.mutable_paths import with_preserved
from distributor.host.packages import NO_CHANGES, installed_packages, package_changes, packages_in
from distributor.host.request import InstallRequest, InstallResult, still_running
from distributor.host.staged_tree import Filled, Plan, Report, complete, fill, local_changes
from distributor.host.staging import staging_directory
from distributor.host.system_packages import find_links
from distributor.layers.cache import CACHE_LIMIT, LayerCache
from distributor.layers.release_source import ReleaseSource
from distributor.places import private_directory
from distributor.system.renaming import probe_exchange
from manifests import __version__
from manifests.artifact import Artifact
from manifests.atomic_file import write_atomically
from manifests.documents import Sha256
from manifests.errors import Refused
from manifests.interpreter import Interpreter
from manifests.layout import PRIVATE, RECEIPT
from manifests.pending import NOTHING, Pending
from manifests.pins import Pin
from manifests.receipt import Receipt, read_receipt


def install_locked(request: InstallRequest, source: ReleaseSource, report: Report) -> InstallResult:
    """Install what *request* says; the caller holds the lock. Raises a VenvoyError or OSError."""
    destination = request.destination
    report("verify metadata", 0, 0)
    pin, interpreter = choose_pin(
        source.pins(request.release).find(request.service, request.target), request.python
    )
    artifact = source.manifest(pin)
    check_needs(artifact, interpreter)
    request = inherit(request, read_receipt(destination))
    mutable = with_preserved(artifact.mutable_paths, request.preserve or {})
    standing = examine(destination, mutable, adopt=request.adopt)
    receipt = new_receipt(request, pin, artifact, interpreter, standing)
    if only_noted(request, receipt, standing):
        return InstallResult(
            changed=True,
            receipt=_note_release(request, receipt, standing),
            destination=destination,
            notes=source.notes,
            packages=NO_CHANGES,
        )
    packages = package_changes(installed_packages(destination), packages_in(artifact))
    check_exchange(request, standing)
    check_space(artifact, destination.parent)
    changes = undeclared_changes(request, standing, report)
    plan = _plan(request, artifact, receipt, interpreter, standing, changes)
    if request.announcement is not None:
        request.announcement.list_destination(destination)
    with staging_directory(destination) as staged:
        filled = fill(staged, plan, source, report)
        receipt, merged = complete(staged, plan, report)
        replaced = activate(staged, destination, standing, atomic=request.atomic)
        tell_journal(destination, receipt.history[-1])
    late = finish(destination, mutable)
    if late is not None:
        merged.kept.extend(late.kept)
    _tidy(request)
    result = _result(request, receipt, merged, filled, replaced)
    return replace(result, local_changes=changes, notes=(*source.notes, *result.notes), packages=packages)


def inherit(request: InstallRequest, before: Receipt | None) -> InstallRequest:
    """Return *request* with what it does not say taken from the tree *before*. Raises OSError."""
    if before is None:
        return request
    files = request.files
    if files is None and not touched(request.destination, before):
        files = {path: (request.destination / path).read_bytes() for path in before.files}
    return replace(
        request,
        files=files,
        preserve=before.preserve if request.preserve is None else request.preserve,
        link_packages=before.link_packages if request.link_packages is None else request.link_packages,
    )


def undeclared_changes(
    request: InstallRequest, standing: Standing, report: Report = lambda *_: None
) -> tuple[str, ...]:
    """Find undeclared changes in the live tree, and name them before they are left behind.

    There are none to keep where another tool made the tree anew. Raises Refused where they cannot be told.
    """
    if standing.receipt is None or touched(request.destination, standing.receipt):
        return ()
    changes = local_changes(request.destination, standing.receipt)
    if request.carry_over and changes == (PRIVATE,):
        raise Refused(
            f"the records of {request.destination} are damaged, so that local changes cannot be told from "
            "the artifact: copy what you need, and install without --carry-over"
        )
    for path in changes:
        report(f"local change, {'carried over' if request.carry_over else 'left behind'}: {path}", 0, 0)
    return changes


def _plan(  # noqa: PLR0913, PLR0917 - the facts of one install
    request: InstallRequest,
    artifact: Artifact,
    receipt: Receipt,
    interpreter: Interpreter,
    standing: Standing,
    changes: tuple[str, ...],
) -> Plan:

    packages = tuple(dict.fromkeys((*artifact.system_packages, *(request.link_packages or ()))))
    links = find_links(packages, PurePath(artifact.target.site_packages), interpreter)
    return Plan(
        artifact=artifact,
        receipt=replace(receipt, system_links=links),
        interpreter=interpreter,
        live=None if standing.place is Place.FREE else request.destination,
        evidence=request.evidence,
        cache=private_directory(request.cache, tighten=True) if request.cache else None,
        link_mode=request.link_mode,
        carry=changes if request.carry_over else (),
        jobs=request.jobs,
        mutable=with_preserved(artifact.mutable_paths, request.preserve or {}),
        files=request.files or {},
        checks=request.checks,
    )


def _tidy(request: InstallRequest) -> None:

    if request.cache is not None:
        LayerCache(request.cache).shrink(CACHE_LIMIT)


def _result(
    request: InstallRequest, receipt: Receipt, merged: Merged, filled: Filled, replaced: Path | None
) -> InstallResult:
    return InstallResult(
        changed=True,
        receipt=receipt,
        destination=request.destination,
        unpacked=True,
        restart_pids=still_running(request, replaced),
        fetched_bytes=filled.fetched,
        replaced=replaced,
        kept=tuple(sorted(merged.kept)),
        aside=tuple(merged.aside),
        notes=(f"files were copied: {filled.copied_because}",) if filled.copied_because else (),
    )


def new_receipt(
    request: InstallRequest, pin: Pin, artifact: Artifact, interpreter: Interpreter, standing: Standing
) -> Receipt:
    """Return the receipt of what is wanted, before it is known what its files are."""
    old = standing.receipt
    before = old.release if old else None
    switch = new_switch("install", request.release, artifact.identity, request.note, before=before)
    return Receipt(
        service=artifact.service,
        release=request.release,
        version=artifact.version,
        target=str(artifact.target),
        identity=artifact.identity,
        manifest_sha256=pin.sha256,
        indexes=Sha256("0" * 64),
        python=str(interpreter.executable),
        python_version=interpreter.version,
        destination=str(request.destination),
        installed_at=switch.when,
        tool=f"venvoy {__version__}",
        unpacked_size=artifact.unpacked_size,
        install_id=secrets.token_hex(8),
        replaced=old.install_id if old else None,
        history=(*(old.history if old else ()), switch)[-100:],
        preserve=dict(request.preserve or {}),
        link_packages=request.link_packages or (),
        pending=_owed(request, artifact.identity, old, restart=True),
    )


def _owed(request: InstallRequest, identity: str, old: Receipt | None, *, restart: bool) -> Pending:
    before = old.pending if old else NOTHING
    return request.announcement.owed(identity, before, restart=restart) if request.announcement else before


def only_noted(request: InstallRequest, wanted: Receipt, standing: Standing) -> bool:
    """Whether the destination holds the very artifact already, bound as wanted: no tree need be made."""
    present = standing.receipt
    same = ("service", "identity", "python", "destination")
    if present is None or any(getattr(present, name) != getattr(wanted, name) for name in same):
        return False
    if request.repair or touched(request.destination, present):
        return False
    if present.link_packages != wanted.link_packages:
        return False
    # The same again is asked for since something of it is damaged.
    return present.release != wanted.release or present.files != digests(request.files or {})


def _note_release(request: InstallRequest, wanted: Receipt, standing: Standing) -> Receipt:
    """Write the new release, and the files beside the artifact's, into the tree that is there."""
    present = standing.receipt
    if present is None:
        raise Refused(f"{request.destination} has no receipt")
    renew_files(request.destination, request.files or {}, present.files)
    noted = replace(
        present,
        release=wanted.release,
        manifest_sha256=wanted.manifest_sha256,
        history=wanted.history,
        files=digests(request.files or {}),
        pending=_owed(request, wanted.identity, present, restart=False),
    )
    write_atomically(request.destination / RECEIPT, noted.to_json())
    return noted


def check_exchange(request: InstallRequest, standing: Standing) -> None:
    """Find out, before anything is fetched, whether the file system can do what will be asked of it."""
    if standing.place is Place.FREE or not request.atomic:
        return
    why = probe_exchange(request.destination)
    if why is not None:
        raise Refused(f"{why}: install beside it and use --link, or accept a short gap with --non-atomic")
