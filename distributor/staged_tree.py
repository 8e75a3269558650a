"""From a verified artifact to a complete staged tree: unpack, bind, merge, check, sync, receipt last."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distributor.binding import Binding, bind
from distributor.health import check_entry_points, run_checks
from distributor.installed_tree import compare, digest_of_indexes
from distributor.mutable import Merged, keep_pristine, merge
from distributor.release_source import ReleaseSource
from distributor.syncing import sync_file_system
from distributor.unpack import Unpacker
from manifests.artifact import Artifact, Layer
from manifests.atomic_file import write_atomically
from manifests.errors import NotFound, VerificationFailed
from manifests.layout import MANIFEST, RECEIPT
from manifests.receipt import Receipt
from manifests.target import Target

Report = Callable[[str, int, int], None]
"""Called with a step's name, and how far it is (0 of 0 where that is not known)."""


def fill(staged: Path, artifact: Artifact, source: ReleaseSource, jobs: int, report: Report) -> None:
    """Unpack the artifact's verified layers into *staged*, and keep its pristine mutable files."""
    done = 0

    def layer_done(layer: Layer) -> None:
        nonlocal done
        done += layer.length
        report("unpack", done, artifact.length)

    report("unpack", 0, artifact.length)
    Unpacker(artifact, functools.partial(source.layer, artifact), staged, jobs=jobs).run(layer_done)
    keep_pristine(staged, artifact.mutable_paths)


def complete(  # noqa: PLR0913, PLR0917 - all that goes into one tree
    staged: Path, artifact: Artifact, receipt: Receipt, live: Path | None, evidence: Path, report: Report
) -> tuple[Receipt, Merged]:
    """Bind, carry the host's files over from *live*, check, bring to disk, and write the receipt.

    Raises HealthCheckFailed, with what the checks printed kept below *evidence*.
    """
    report("bind", 0, 0)
    bind(staged, binding_of(receipt))
    manifest = staged / MANIFEST
    manifest.write_bytes(artifact.to_json())
    manifest.chmod(0o644)
    receipt = replace(receipt, indexes=digest_of_indexes(staged))
    merged = merge(live, staged, artifact.mutable_paths) if live is not None else Merged()
    # Complete and owned by us: a check may now run as the service's user, who must be able to enter.
    staged.chmod(0o755)
    report("check", 0, 0)
    check_entry_points(staged, artifact)
    run_checks(staged, artifact, evidence)
    seal(staged, receipt, report)
    return receipt, merged


def seal(staged: Path, receipt: Receipt, report: Report) -> None:
    """Bring everything to disk, then write the receipt: from here on the tree counts as whole."""
    report("sync", 0, 0)
    sync_file_system(staged)
    write_atomically(staged / RECEIPT, receipt.to_json())


def binding_of(receipt: Receipt) -> Binding:
    """Return the binding that *receipt* records."""
    return Binding(
        executable=Path(receipt.python),
        version=receipt.python_version,
        python_name=Target.parse(receipt.target).python_name,
        destination=Path(receipt.destination),
    )


def local_changes(destination: Path, receipt: Receipt) -> tuple[str, ...]:
    """Return the paths of a venv that differ from its artifact and that nobody declared mutable."""
    try:
        found = compare(destination, receipt, binding_of(receipt))
    except (NotFound, VerificationFailed):
        return (".venvoy",)  # its own records are damaged: anything may differ
    return tuple(sorted({*found.altered, *found.added, *found.missing, *found.modes}))
