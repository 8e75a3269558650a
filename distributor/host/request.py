"""What is wanted of an install, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.pending import Fact
from manifests.receipt import Receipt

if TYPE_CHECKING:
    from distributor.host.announcing import Announcement
    from distributor.host.packages import PackageChanges
    from manifests.artifact import Checks


@dataclass(frozen=True, kw_only=True)
class InstallRequest:
    """What is wanted. ``destination`` and ``link`` are absolute; ``python`` overrides the search.

    ``evidence`` is where the output of failed checks is kept, ``cache`` where layers are (None: nowhere).
    Without ``atomic``, two renames replace an exchange that the file system cannot do. ``repair``
    unpacks again what is there already. ``carry_over`` brings undeclared local changes along. ``note``
    goes into the history.

    ``announcement`` is what a change shall cause outside of the tree. ``preserve`` are mutable paths of
    this host, with their policies, beside the artifact's. ``files`` are written into the tree beside the
    artifact's, by relative path, and ``link_packages`` linked beside those that it names. None of these
    three means: as the tree before had it. ``checks`` come on top of the artifact's. ``adopt`` lets a
    venv that another tool made be replaced.
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
    cache: Path | None = None
    link_mode: str = "copy"
    carry_over: bool = False
    note: str | None = None
    announcement: Announcement | None = None
    preserve: Mapping[str, str] | None = None
    files: Mapping[str, bytes] | None = None
    link_packages: tuple[str, ...] | None = None
    checks: Checks | None = None
    adopt: bool = False


@dataclass(frozen=True, kw_only=True)
class InstallResult:
    """What came of it. ``changed`` is true exactly when the host is not as it was.

    ``replaced`` is where the tree lies that was exchanged; ``local_changes`` are paths in it that
    nobody had declared mutable and that differ from its artifact: unless they were to be carried over,
    they are not in the new tree. ``restart_pids`` are processes that still run from the replaced tree.
    ``unpacked`` is false where the very artifact was there already; ``notes`` are what else to know.
    ``packages`` is how the set of packages differs from the one before. ``facts`` were written, and
    handlers have to act on the topics of ``notify``: now, or still since a run that died.
    """

    changed: bool
    receipt: Receipt
    destination: Path
    unpacked: bool = False
    fetched_bytes: int = 0
    link_flipped: bool = False
    replaced: Path | None = None
    kept: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    local_changes: tuple[str, ...] = ()
    restart_pids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    packages: PackageChanges | None = None
    facts: tuple[Fact, ...] = ()
    notify: tuple[str, ...] = ()

    @property
    def real_path(self) -> Path:
        """The physical path of the venv: what long-running services should be started from."""
        return self.destination.resolve()


def still_running(request: InstallRequest, replaced: Path | None) -> tuple[int, ...]:
    """Return the processes that still run from the *replaced* tree, which bore the destination's name."""
    from distributor.system.processes import find_users

    names = [request.destination, *([request.link] if request.link else [])]
    return find_users(replaced, names).pids if replaced else ()
