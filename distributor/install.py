"""Install: from a release's name to a venv at its destination, whole or not at all.

The order on disk is the contract: lock, sweep, verify and unpack into a fresh private sibling, bind,
carry the host's files over, check, sync the file system, write the receipt last, rename or exchange,
sync the parent, flip the link. A kill at any point leaves the destination as it was or as it shall
be; the next run sweeps and goes on.

A venv whose receipt names the wanted release is left alone, and nothing of stores, trust or
networks is imported to find that out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.siblings import litter
from manifests import __version__
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable, Refused
from manifests.layout import RECEIPT
from manifests.receipt import Receipt, Switch, read_receipt

if TYPE_CHECKING:
    from distributor.activation import Standing
    from distributor.file_lock import HeldLock
    from distributor.mutable import Merged
    from distributor.release_source import ReleaseSource
    from distributor.staged_tree import Report
    from manifests.artifact import Artifact
    from manifests.interpreter import Interpreter
    from manifests.pins import Pin

LOCK_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class InstallRequest:
    """What is wanted. ``destination`` and ``link`` are absolute; ``python`` overrides the search.

    ``evidence`` is where the output of failed checks is kept. Without ``atomic``, two renames replace
    an exchange that the file system cannot do. ``repair`` unpacks again what is there already.
    """

    service: str
    release: str
    destination: Path
    evidence: Path
    link: Path | None = None
    python: Path | None = None
    target: str | None = None
    jobs: int = 2
    atomic: bool = True
    repair: bool = False


@dataclass(frozen=True, kw_only=True)
class InstallResult:
    """What came of it. ``changed`` is true exactly when the host is not as it was.

    ``replaced`` is where the tree lies that was exchanged; ``local_changes`` are paths in it that
    nobody had declared mutable and that differ from its artifact: they are not in the new tree.
    ``restart_pids`` are processes that still run from the replaced tree.
    """

    changed: bool
    receipt: Receipt
    destination: Path
    fetched_bytes: int = 0
    link_flipped: bool = False
    replaced: Path | None = None
    kept: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    local_changes: tuple[str, ...] = ()
    restart_pids: tuple[int, ...] = ()

    @property
    def real_path(self) -> Path:
        """The physical path of the venv: what long-running services should be started from."""
        return self.destination.resolve()


def install(
    request: InstallRequest, open_source: Callable[[], ReleaseSource], report: Report = lambda *_: None
) -> InstallResult:
    """Install what *request* says; *open_source* is called only where the receipt does not suffice.

    Raises a VenvoyError; the destination then is what it was before.
    """
    with as_host_errors(request.destination):
        _refuse_planted(request.destination)
        receipt = unchanged(request)
        if receipt is not None and not litter(request.destination):
            return _finished(
                request, InstallResult(changed=False, receipt=receipt, destination=request.destination)
            )
        with exclusive(request.destination) as lock:

            def working(step: str, done: int, total: int) -> None:
                lock.beat()
                report(step, done, total)

            receipt = unchanged(request)  # somebody else may have done it while we waited
            if receipt is None:
                return _finished(request, _install_locked(request, open_source(), working))
            return _finished(
                request, InstallResult(changed=False, receipt=receipt, destination=request.destination)
            )


def _refuse_planted(destination: Path) -> None:
    """Where others may create names, what stands at the destination must be root's or ours."""
    if os.path.lexists(destination) and destination.parent.stat().st_mode & 0o022:
        owner = destination.lstat().st_uid
        if owner not in (0, os.geteuid()):
            raise Refused(f"{destination} belongs to user {owner}, in a directory that others may write to")


@contextlib.contextmanager
def exclusive(destination: Path) -> Iterator[HeldLock]:
    """Hold the destination's lock, with the leavings of killed runs swept away."""
    from distributor.file_lock import hold_lock
    from distributor.siblings import lock_path
    from distributor.staging import safe_parent, sweep

    safe_parent(destination)
    with hold_lock(lock_path(destination), what=str(destination), timeout=LOCK_SECONDS) as lock:
        sweep(destination)
        yield lock


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
    except OSError:
        return None
    return receipt if bound else None


def _install_locked(request: InstallRequest, source: ReleaseSource, report: Report) -> InstallResult:
    from distributor.activation import Place, activate, examine
    from distributor.host_check import check_needs, check_space, choose_pin
    from distributor.mutable import catch_up
    from distributor.staged_tree import complete, fill, local_changes
    from distributor.staging import staging_directory

    destination = request.destination
    report("verify metadata", 0, 0)
    pin, interpreter = choose_pin(
        source.pins(request.release).find(request.service, request.target), request.python
    )
    artifact = source.manifest(pin)
    check_needs(artifact, interpreter)
    standing = examine(destination, artifact.mutable_paths)
    receipt = _new_receipt(request, pin, artifact, interpreter, standing)
    kept = _same_artifact(destination, receipt, standing, repair=request.repair)
    if kept is not None:
        return InstallResult(changed=True, receipt=kept, destination=destination)
    _check_exchange(request, standing)
    check_space(artifact, destination.parent)
    changes = local_changes(destination, standing.receipt) if standing.receipt else ()
    live = None if standing.place is Place.FREE else destination
    with staging_directory(destination) as staged:
        fill(staged, artifact, source, request.jobs, report)
        receipt, merged = complete(staged, artifact, receipt, live, request.evidence, report)
        replaced = activate(staged, destination, standing, atomic=request.atomic)
    if replaced is not None:
        catch_up(replaced, destination, artifact.mutable_paths, merged)
    return _result(destination, receipt, artifact, merged, replaced, changes)


def _result(  # noqa: PLR0913, PLR0917 - the facts of one switch
    destination: Path,
    receipt: Receipt,
    artifact: Artifact,
    merged: Merged,
    replaced: Path | None,
    changes: tuple[str, ...],
) -> InstallResult:
    from distributor.processes import find_users

    users = find_users(replaced, [destination]).pids if replaced else ()
    return InstallResult(
        changed=True,
        receipt=receipt,
        destination=destination,
        restart_pids=users,
        fetched_bytes=artifact.length,
        replaced=replaced,
        kept=tuple(merged.kept),
        aside=tuple(merged.aside),
        local_changes=changes,
    )


def _new_receipt(
    request: InstallRequest, pin: Pin, artifact: Artifact, interpreter: Interpreter, standing: Standing
) -> Receipt:
    import secrets

    old = standing.receipt
    switch = new_switch("install", request.release, artifact.identity)
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
    )


def new_switch(action: str, release: str, identity: str) -> Switch:
    """Return a line of history for what is done now, by the user who does it."""
    import datetime

    who = os.environ.get("SUDO_USER") or str(os.getuid())
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Switch(when=now, who=who, action=action, release=release, identity=identity)


def _same_artifact(destination: Path, wanted: Receipt, standing: Standing, *, repair: bool) -> Receipt | None:
    """Note the new release where the destination holds its very artifact already, bound as wanted."""
    from manifests.atomic_file import write_atomically

    present = standing.receipt
    same = ("service", "identity", "python", "destination")
    if present is None or any(getattr(present, name) != getattr(wanted, name) for name in same):
        return None
    if present.release == wanted.release or repair:
        return None  # asked for again, since something of it is damaged
    noted = replace(
        present, release=wanted.release, manifest_sha256=wanted.manifest_sha256, history=wanted.history
    )
    write_atomically(destination / RECEIPT, noted.to_json())
    return noted


def _check_exchange(request: InstallRequest, standing: Standing) -> None:
    """Find out, before anything is fetched, whether the file system can do what will be asked of it."""
    from distributor.activation import Place
    from distributor.renaming import probe_exchange

    if standing.place is Place.FREE or not request.atomic:
        return
    why = probe_exchange(request.destination)
    if why is not None:
        raise Refused(f"{why}: install beside it and use --link, or accept a short gap with --non-atomic")


def _finished(request: InstallRequest, result: InstallResult) -> InstallResult:
    if not result.changed:
        from manifests.atomic_file import sync_directory

        sync_directory(request.destination.parent)  # a killed run may have renamed without getting there
    if request.link is None:
        return result
    from distributor.staging import flip_link

    flipped = flip_link(request.link, request.destination)
    return replace(result, changed=result.changed or flipped, link_flipped=flipped)


@contextlib.contextmanager
def as_host_errors(destination: Path) -> Iterator[None]:
    """Say what the host's file system refused, in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or destination
        raise HostUnsuitable(
            f"cannot change {destination}: {error.strerror} ({where}); it is as before"
        ) from error
