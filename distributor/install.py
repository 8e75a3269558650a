"""Install: from a release's name to a venv at its destination, whole or not at all.

The order on disk is the contract: lock, sweep, verify and unpack into a fresh private sibling, bind,
check, sync the file system, write the receipt last, rename into place, sync the parent, flip the
link. A kill at any point leaves the destination as it was; the next run sweeps and does it again.

A venv whose receipt names the wanted release is left alone, and nothing of stores, trust or
networks is imported to find that out.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from manifests import __version__
from manifests.documents import Sha256
from manifests.errors import HostUnsuitable, Refused
from manifests.layout import MANIFEST, RECEIPT
from manifests.receipt import Receipt, read_receipt

if TYPE_CHECKING:
    from distributor.binding import Binding
    from manifests.artifact import Artifact, Layer
    from manifests.interpreter import Interpreter
    from manifests.pins import Pin, ReleasePins


class ReleaseSource(Protocol):
    """Verified releases and the bytes of their artifacts."""

    def pins(self, release: str) -> ReleasePins:
        """Return the signed pins of *release*."""

    def manifest(self, pin: Pin) -> Artifact:
        """Return the signed manifest that *pin* names."""

    def layer(self, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, unverified."""


@dataclass(frozen=True, kw_only=True)
class InstallRequest:
    """What is wanted. ``destination`` and ``link`` are absolute; ``python`` overrides the search."""

    service: str
    release: str
    destination: Path
    link: Path | None = None
    python: Path | None = None
    target: str | None = None
    jobs: int = 2


@dataclass(frozen=True, kw_only=True)
class InstallResult:
    """What came of it. ``changed`` is true exactly when the host is not as it was."""

    changed: bool
    receipt: Receipt
    destination: Path
    fetched_bytes: int
    link_flipped: bool

    @property
    def real_path(self) -> Path:
        """The physical path of the venv: what long-running services should be started from."""
        return self.destination.resolve()


@dataclass(frozen=True)
class Stage:
    """A step of an install, for progress: its name, and how far it is where that is known."""

    name: str
    done: int = 0
    total: int = 0


def install(
    request: InstallRequest,
    open_source: Callable[[], ReleaseSource],
    progress: Callable[[Stage], None] = lambda _: None,
) -> InstallResult:
    """Install what *request* says; *open_source* is called only where the receipt does not suffice.

    Raises a VenvoyError; the destination then is what it was before.
    """
    destination = request.destination
    with _as_host_errors(destination):
        receipt = unchanged(request)
        if receipt is not None:
            return _finished(request, receipt, changed=False)

        from distributor.file_lock import hold_lock
        from distributor.staging import lock_path, safe_parent

        safe_parent(destination)
        with hold_lock(lock_path(destination), what=str(destination), timeout=300):
            receipt = unchanged(request)  # somebody else may have done it while we waited
            if receipt is not None:
                return _finished(request, receipt, changed=False)
            return _install_locked(request, open_source(), progress)


def unchanged(request: InstallRequest) -> Receipt | None:
    """Return the receipt if the destination already is what *request* wants, else None."""
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


def _install_locked(
    request: InstallRequest, source: ReleaseSource, progress: Callable[[Stage], None]
) -> InstallResult:
    from distributor.host_check import check_needs, check_space, choose_pin
    from distributor.staging import staging_directory

    destination = request.destination
    progress(Stage("verify metadata"))
    pin, interpreter = choose_pin(
        source.pins(request.release).find(request.service, request.target), request.python
    )
    artifact = source.manifest(pin)
    check_needs(artifact, interpreter)
    receipt = _new_receipt(request, pin, artifact, interpreter)
    kept = _same_artifact(destination, receipt)
    if kept is not None:
        return _finished(request, kept, changed=True)
    _check_destination(destination)
    check_space(artifact, destination.parent)
    with staging_directory(destination) as staged:
        _fill(staged, artifact, source, request.jobs, progress)
        receipt = _complete(staged, artifact, receipt, progress)
        _activate(staged, destination)
    return _finished(request, receipt, changed=True, fetched=artifact.length)


def _new_receipt(request: InstallRequest, pin: Pin, artifact: Artifact, interpreter: Interpreter) -> Receipt:
    now = datetime.datetime.now(datetime.timezone.utc)
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
        installed_at=now.isoformat(timespec="seconds"),
        tool=f"venvoy {__version__}",
    )


def _same_artifact(destination: Path, wanted: Receipt) -> Receipt | None:
    """Note the new release where the destination holds its very artifact already, bound as wanted."""
    from manifests.atomic_file import write_atomically

    present = read_receipt(destination)
    if present is None:
        return None
    noted = replace(present, release=wanted.release, manifest_sha256=wanted.manifest_sha256)
    same = ("service", "identity", "python", "destination")
    if any(getattr(noted, name) != getattr(wanted, name) for name in same):
        return None
    write_atomically(destination / RECEIPT, noted.to_json())
    return noted


def _check_destination(destination: Path) -> None:
    """Raise Refused where something stands at the destination that an install must not remove."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise Refused(f"{destination} is not a directory; a venv must be a real one: choose another --dest")
    present = read_receipt(destination)
    if present is not None:
        raise Refused(
            f"{destination} holds {present.service} of release {present.release} ({present.identity[:12]}); "
            "install the new one beside it, with the release in its name, and move --link"
        )
    if destination.is_dir() and any(destination.iterdir()):
        raise Refused(f"{destination} is not empty and has no receipt of Venvoy: move it away first")


def _fill(
    staged: Path, artifact: Artifact, source: ReleaseSource, jobs: int, progress: Callable[[Stage], None]
) -> None:
    from distributor.unpack import Unpacker

    done = 0

    def layer_done(layer: Layer) -> None:
        nonlocal done
        done += layer.length
        progress(Stage("unpack", done, artifact.length))

    Unpacker(artifact, functools.partial(source.layer, artifact), staged, jobs=jobs).run(layer_done)


def _complete(
    staged: Path, artifact: Artifact, receipt: Receipt, progress: Callable[[Stage], None]
) -> Receipt:
    """Bind and check the staged tree, bring it to disk, and write its receipt, last."""
    from distributor.binding import bind
    from distributor.health import check_entry_points
    from distributor.installed_tree import digest_of_indexes
    from distributor.syncing import sync_file_system
    from manifests.atomic_file import write_atomically

    progress(Stage("bind and check"))
    bind(staged, binding_of(receipt))
    (staged / MANIFEST).write_bytes(artifact.to_json())
    (staged / MANIFEST).chmod(0o644)
    check_entry_points(staged, artifact)
    receipt = replace(receipt, indexes=digest_of_indexes(staged))
    staged.chmod(0o755)
    progress(Stage("sync"))
    sync_file_system(staged)
    write_atomically(staged / RECEIPT, receipt.to_json())
    return receipt


def binding_of(receipt: Receipt) -> Binding:
    """Return the binding that *receipt* records."""
    from distributor.binding import Binding
    from manifests.target import Target

    return Binding(
        executable=Path(receipt.python),
        version=receipt.python_version,
        python_name=Target.parse(receipt.target).python_name,
        destination=Path(receipt.destination),
    )


def _activate(staged: Path, destination: Path) -> None:
    """Rename the complete tree into place; an empty directory there is replaced, nothing else."""
    from manifests.atomic_file import sync_directory

    try:
        staged.rename(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Refused(
                f"{destination} was filled by somebody else meanwhile; nothing was changed"
            ) from None
        raise
    sync_directory(destination.parent)


def _finished(request: InstallRequest, receipt: Receipt, *, changed: bool, fetched: int = 0) -> InstallResult:
    flipped = False
    if request.link is not None:
        from distributor.staging import flip_link

        flipped = flip_link(request.link, request.destination)
    return InstallResult(
        changed=changed or flipped,
        receipt=receipt,
        destination=request.destination,
        fetched_bytes=fetched,
        link_flipped=flipped,
    )


@contextlib.contextmanager
def _as_host_errors(destination: Path) -> Iterator[None]:
    """Say what the host's file system refused, in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or destination
        raise HostUnsuitable(f"cannot install to {destination}: {error.strerror} ({where})") from error
