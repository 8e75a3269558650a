"""The page of an artifact: from its manifest, its bill of materials and its provenance."""

from __future__ import annotations

import functools
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributor.site.names import href, page_name
from distributor.site.rendering import percent
from manifests.artifact import Artifact, Layer
from manifests.companions import (
    ListedComponent,
    check_sbom,
    check_statement,
    provenance_path,
    read_sbom,
    sbom_path,
)
from manifests.console import size
from manifests.documents import parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields

if TYPE_CHECKING:
    from distributor.site.model import PinnedArtifact
    from distributor.site.rendering import Renderer


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """The verified documents of an artifact: its plain manifest, and what builders signed beside it."""

    manifest: bytes
    sbom: bytes | None
    envelope: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildFacts:
    """What the provenance says of a build."""

    finished: str
    builder: str
    tool: str
    release: str


def artifact_page(renderer: Renderer, item: PinnedArtifact, documents: Documents) -> bytes:
    """Return the page of *item*. Raises InvalidInput for a manifest that cannot be read."""
    artifact = Artifact.from_json(documents.manifest, what=item.manifest)
    listed = _listed(documents.sbom, artifact)
    build = _build(documents.envelope, artifact)
    layers = sorted((layer for layer in artifact.layers if layer.wheel), key=lambda layer: -layer.length)
    return renderer.render(
        "artifact.html",
        item.page,
        item=item,
        artifact=artifact,
        layers=[_row(layer, listed.get(layer.distribution), layers[0].length) for layer in layers],
        build=build,
        documents=_links(item, artifact, documents),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A package in the table, as it is shown."""

    name: str
    page: str
    version: str
    licence: str
    inside: tuple[str, ...]
    length: str
    share: str
    unpacked: str


def _row(layer: Layer, listed: ListedComponent | None, largest: int) -> Row:
    return Row(
        name=layer.distribution,
        page=_package_page(layer.distribution),
        version=layer.version,
        licence=listed.licence if listed else "",
        inside=listed.embedded if listed else (),
        length=size(layer.length),
        share=percent(layer.length, largest),
        unpacked=size(layer.tar_length),
    )


@functools.lru_cache(maxsize=10_000)
def _package_page(name: str) -> str:
    """Return the address of a package's page; most packages stand in most artifacts."""
    return href(f"packages/{page_name(name)}.html")


def _links(item: PinnedArtifact, artifact: Artifact, documents: Documents) -> list[tuple[str, str, str]]:
    """Return what there is to fetch: name, path in the store, and a word about it."""
    links = [
        ("Tarball", artifact.tarball_path, f"{size(artifact.length)}, for tar --zstd -xf"),
        ("Manifest", item.manifest, "layers, digests, needs; JSON in gzip"),
    ]
    if artifact.compression == "gzip":
        links[0] = ("Tarball", artifact.tarball_path, f"{size(artifact.length)}, for tar -xzf")
    if documents.sbom is not None:
        links.append(("Bill of materials", sbom_path(artifact), "CycloneDX: packages, licences, digests"))
    if documents.envelope is not None:
        links.append(("Provenance", provenance_path(artifact), "in-toto, SLSA, in a signed envelope"))
    return links


def _listed(data: bytes | None, artifact: Artifact) -> dict[str, ListedComponent]:
    if data is None:
        return {}
    try:
        check_sbom(data, artifact, what="bill of materials")
        return read_sbom(data, what="bill of materials")
    except InvalidInput:  # builders signed it, and may sign anything: the page goes without
        return {}


def _build(data: bytes | None, artifact: Artifact) -> BuildFacts | None:
    """Return what the statement in the signed envelope *data* says; the store's metadata binds its bytes."""
    if data is None:
        return None
    what = "provenance"
    try:
        payload = b64decode(Fields(parse_json(data, what=what), what).text("payload"))
        check_statement(payload, artifact, what=what)
        predicate = Fields(parse_json(payload, what=what), what).object("predicate")
        run = predicate.object("runDetails")
        parameters = predicate.object("buildDefinition").object("externalParameters")
        return BuildFacts(
            finished=run.object("metadata").text("finishedOn"),
            builder=run.object("builder").text("id"),
            tool=run.object("builder").object("version").text("venvoy"),
            release=parameters.text("release"),
        )
    except (InvalidInput, ValueError):
        return None
