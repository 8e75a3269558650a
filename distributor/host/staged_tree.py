"""From a verified artifact to a complete staged tree: unpack, bind, merge, check, sync, receipt last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from distributor.checks.dependencies import check_dependencies
from distributor.checks.health import check_entry_points, run_checks
from distributor.host.binding import Binding, bind
from distributor.host.extra_files import write_files
from distributor.host.handover import announce
from distributor.host.installed_tree import compare, digest_of_indexes
from distributor.host.mutable import Merged, carry_over, keep_pristine, merge
from distributor.host.system_packages import make_links
from distributor.layers.linking import sharing
from distributor.layers.release_source import ReleaseSource
from distributor.layers.sources import layers_of
from distributor.layers.staged_files import StagedFiles
from distributor.layers.unpack import Unpacker
from distributor.system.syncing import sync_file_system
from manifests.artifact import Artifact, Checks, Layer, MutablePath
from manifests.atomic_file import write_atomically
from manifests.errors import NotFound, VerificationFailed
from manifests.interpreter import Interpreter
from manifests.layout import MANIFEST, RECEIPT
from manifests.receipt import Receipt
from manifests.target import Target

Report = Callable[[str, int, int], None]
"""Called with a step's name, and how far it is (0 of 0 where that is not known)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that goes into one staged tree.

    *live* is the tree that it shall replace, where there is one; *carry* are paths there that nobody
    declared mutable, and that come along all the same. Output of failed checks is kept in *evidence*.
    Layers are kept in *cache*, if there is one, which *link_mode* other than ``copy`` needs. *mutable*
    are the artifact's mutable paths and the host's. *files* are written beside the artifact's; *checks*
    run after its own.
    """

    artifact: Artifact
    receipt: Receipt
    interpreter: Interpreter
    live: Path | None
    evidence: Path
    cache: Path | None = None
    link_mode: str = "copy"
    carry: tuple[str, ...] = ()
    jobs: int = 2
    mutable: tuple[MutablePath, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    checks: Checks | None = None


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How a tree was filled: the bytes fetched for it, and why files were copied that were to be linked."""

    fetched: int
    copied_because: str | None


def fill(staged: Path, plan: Plan, source: ReleaseSource, report: Report) -> Filled:
    """Unpack the artifact's verified layers into *staged*, and keep its pristine mutable files."""
    artifact = plan.artifact
    done = fetched = 0

    def layer_done(layer: Layer, bytes_fetched: int) -> None:
        nonlocal done, fetched
        done += layer.length
        fetched += bytes_fetched
        if came == to_come:  # until then the network is what is waited for
            report("unpack", done, artifact.length)

    files: Callable[[int, frozenset[str]], StagedFiles] = StagedFiles
    why = None
    if plan.cache is not None and plan.link_mode != "copy":
        files, why = sharing(plan.link_mode, plan.cache, staged, plan.mutable)
    sources = layers_of(artifact, source, plan.cache, Path(plan.receipt.destination))
    to_come = sum(artifact.layers[index].length for index in sources.missing)
    came = 0

    def brought(count: int) -> None:
        nonlocal came, fetched
        came += count
        fetched += count
        report("fetch", came, to_come)

    unpacker = Unpacker(artifact, sources.open_layer, staged, jobs=plan.jobs, files=files)
    ahead = sources.ahead(brought) if sources.ahead else None
    report(*(("fetch", 0, to_come) if to_come else ("unpack", 0, artifact.length)))
    unpacker.run(layer_done, missing=sources.missing, ahead=ahead)
    keep_pristine(staged, plan.mutable)
    return Filled(fetched=fetched, copied_because=why)


def complete(staged: Path, plan: Plan, report: Report) -> tuple[Receipt, Merged]:
    """Bind, carry the host's files over, check, bring to disk, and write the receipt.

    Raises HealthCheckFailed, with what the checks printed kept as evidence.
    """
    artifact, live = plan.artifact, plan.live
    report("bind", 0, 0)
    bind(staged, binding_of(plan.receipt))
    links = make_links(staged, plan.receipt.system_links)
    manifest = staged / MANIFEST
    manifest.write_bytes(artifact.to_json())
    manifest.chmod(0o644)
    receipt = replace(
        plan.receipt,
        indexes=digest_of_indexes(staged),
        system_links=links,
        files=write_files(staged, plan.files),
    )
    merged = Merged()
    if live is not None:
        carry_over(live, staged, plan.carry)
        merged = merge(live, staged, plan.mutable)
        announce(staged, live, merged)
    # Complete and owned by us: a check may now run as the service's user, who must be able to enter.
    staged.chmod(0o755)
    report("check", 0, 0)
    check_entry_points(staged, artifact)
    check_dependencies(staged, artifact, plan.interpreter)
    run_checks(staged, artifact, plan.evidence)
    if plan.checks is not None:
        run_checks(staged, replace(artifact, checks=plan.checks), plan.evidence)
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
