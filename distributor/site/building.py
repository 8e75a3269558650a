"""The whole site: gathered, rendered in a few processes, and written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.site.artifact_pages import Documents, artifact_page
from distributor.site.gathering import Progress, gather
from distributor.site.pages import all_pages
from distributor.site.rendering import Renderer
from distributor.site.writing import SiteWriter, write_all
from distributor.stores.bulk import in_bulk
from distributor.system.workers import run_tasks
from distributor.trust.gzipped import decompress
from distributor.trust.tuf_api import TargetFile
from manifests.companions import provenance_path_of, sbom_path_of
from manifests.documents import Sha256, digest_of

if TYPE_CHECKING:
    from distributor.site.model import PinnedArtifact, SiteModel
    from distributor.stores.interface import ReadStore, Store
    from distributor.trust.trust import Trust

SITE = "site/"
"""Where the pages lie in a store."""
_BATCH = 400
"""Artifacts whose documents are in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteResult:
    """What came of it: the number of pages written, left as they were, and removed."""

    written: int
    unchanged: int
    removed: int


def build_site(  # noqa: PLR0913 - whence, whither, how it is shown, and how fast
    store: ReadStore,
    trust: Trust,
    output: Store,
    *,
    prefix: str = SITE,
    shown_store: str,
    payload: str = "../",
    jobs: int = 2,
    progress: Progress = lambda *_: None,
) -> SiteResult:
    """Write the pages about *store* below *prefix* in *output*, as *trust*, which is refreshed, allows.

    *shown_store* is how commands on the pages name the store, *payload* where it lies, seen from the site's
    folder ("" where pages cannot link to it). Pages that are there already are not made again. Raises what
    reading and writing raise.
    """
    model = gather(store, trust, shown_store=shown_store, progress=progress)
    renderer = Renderer(model=model, payload=payload)
    writer = SiteWriter(store=output, prefix=prefix)
    writer.open()
    missing = [item for item in model.artifacts if not writer.keep(item.page, _inputs(item, renderer))]
    # The index, which says what need not be made again, comes after all pages are on disk.
    with in_bulk(output):
        for count, (item, page) in enumerate(_artifact_pages(trust, renderer, missing, jobs)):
            writer.write(item.page, page, _inputs(item, renderer))
            progress("artifacts", count + 1, len(missing))
        total = _expected(model)
        write_all(writer, all_pages(renderer), lambda done: progress("pages", min(done, total), total))
    writer.close()
    return SiteResult(written=writer.written, unchanged=writer.kept, removed=writer.removed)


def _expected(model: SiteModel) -> int:
    """Return about how many other pages there will be."""
    names = {name for item in model.artifacts for name, _ in item.contents.packages}
    return 2 * len(model.releases) + len(model.services) + len(names) + 8


def _inputs(item: PinnedArtifact, renderer: Renderer) -> Sha256:
    """Return the digest of all that the page of *item* is made of; its documents never change."""
    return digest_of(
        [renderer.digest, renderer.model.store, renderer.payload, item.manifest_sha256, item.releases]
    )


def _artifact_pages(
    trust: Trust, renderer: Renderer, items: Sequence[PinnedArtifact], jobs: int
) -> Iterator[tuple[PinnedArtifact, bytes]]:
    """Yield the page of each of *items*. Documents are read here, pages rendered by *jobs* processes."""
    with tempfile.TemporaryDirectory(prefix="venvoy-site-") as folder:
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            documents = _documents(trust, batch)

            def task(index: int, batch: Sequence[PinnedArtifact] = batch) -> int:
                page = artifact_page(renderer, batch[index], documents[index])  # noqa: B023
                return Path(folder, str(index)).write_bytes(page)

            run_tasks(range(len(batch)), task, lambda index, result: None, jobs=jobs)
            for index, item in enumerate(batch):
                yield item, Path(folder, str(index)).read_bytes()


def _documents(trust: Trust, items: Sequence[PinnedArtifact]) -> list[Documents]:
    """Return the verified documents of *items*: the pins name manifests, builders signed the rest."""
    beside = [(sbom_path_of(i.service, i.label), provenance_path_of(i.service, i.label)) for i in items]
    signed = trust.find_all([path for pair in beside for path in pair])
    found = []
    for item, pair in zip(items, beside, strict=True):
        target = TargetFile(item.manifest_length, {"sha256": item.manifest_sha256}, item.manifest)
        manifest = decompress(trust.read(target, keep=False), what=item.manifest)
        sbom, envelope = (trust.read(signed[path], keep=False) if path in signed else None for path in pair)
        found.append(Documents(manifest=manifest, sbom=sbom, envelope=envelope))
    return found
