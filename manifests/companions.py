"""The documents beside an artifact, in a build and in a store.

::

    sbom/<service>/<stem>.cdx.json              bill of materials: CycloneDX, a function of the inputs
    provenance/<service>/<stem>.statement.json  in-toto statement of one build (in the build alone)
    provenance/<service>/<stem>.intoto.json     that statement, signed: a DSSE envelope (in the store)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.documents import parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests.artifact import Artifact

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""What a statement is, for in-toto (in-toto attestation framework, version 1)."""
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
"""What it says: SLSA provenance, version 1."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What a DSSE envelope around a statement holds."""
UNKNOWN_LICENCE = "unknown"


def sbom_path(artifact: Artifact) -> str:
    """Return the path of *artifact*'s bill of materials."""
    return sbom_path_of(artifact.service, artifact.stem)


def sbom_path_of(service: str, stem: str) -> str:
    """Return the path of the bill of materials of the artifact labelled *stem*."""
    return f"sbom/{service}/{stem}.cdx.json"


def statement_path(artifact: Artifact) -> str:
    """Return the path of the unsigned statement in the folder of a build."""
    return f"provenance/{artifact.service}/{artifact.stem}.statement.json"


def provenance_path(artifact: Artifact) -> str:
    """Return the path of the signed statement in a store."""
    return provenance_path_of(artifact.service, artifact.stem)


def provenance_path_of(service: str, stem: str) -> str:
    """Return the path of the signed statement of the artifact labelled *stem*."""
    return f"provenance/{service}/{stem}.intoto.json"


def check_statement(data: bytes, artifact: Artifact, *, what: str) -> None:
    """Raise InvalidInput unless *data* is a provenance statement of *artifact*'s tarball."""
    top = Fields(parse_json(data, what=what), what)
    kinds = top.text("_type"), top.text("predicateType")
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise InvalidInput(f"{what}: it is of type {' and '.join(kinds)}, no SLSA provenance 1.0 of in-toto")
    subjects = {item.object("digest").sha256("sha256") for item in top.objects("subject")}
    if artifact.sha256 not in subjects:
        raise InvalidInput(f"{what}: it is of another artifact than {artifact.stem}")


def check_sbom(data: bytes, artifact: Artifact, *, what: str) -> None:
    """Raise InvalidInput unless *data* is a bill of materials of *artifact*'s tarball."""
    top = Fields(parse_json(data, what=what), what)
    if top.text("bomFormat") != "CycloneDX":
        raise InvalidInput(f"{what}: it is no CycloneDX document")
    hashes = top.object("metadata").object("component").objects("hashes", required=False)
    if artifact.sha256 not in {item.text("content") for item in hashes}:
        raise InvalidInput(f"{what}: it is of another artifact than {artifact.stem}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedComponent:
    """A component as a bill of materials lists it: name, version, licence (an SPDX expression, or words)."""

    name: str
    version: str
    licence: str
    summary: str
    embedded: tuple[str, ...]


def read_sbom(data: bytes, *, what: str) -> dict[str, ListedComponent]:
    """Return the components at the top of the bill *data*, by name.

    ``embedded`` names what the component's own bills list. Raises InvalidInput naming the field.
    """
    top = Fields(parse_json(data, what=what), what)
    found = (_component(item) for item in top.objects("components", required=False))
    return {component.name: component for component in found}


def licences_of(components: Mapping[str, ListedComponent], name: str) -> str:
    """Return the licence of *name*, or a word for that it is not known."""
    return components[name].licence if name in components else UNKNOWN_LICENCE


def _component(item: Fields) -> ListedComponent:
    inner = item.objects("components", required=False) if item.has("components") else ()
    return ListedComponent(
        name=item.text("name"),
        version=item.optional_text("version") or "",
        licence=_licence(item.objects("licenses", required=False)),
        summary=item.optional_text("description") or "",
        embedded=tuple(f"{one.text('name')} {one.optional_text('version') or ''}".rstrip() for one in inner),
    )


def _licence(choices: list[Fields]) -> str:
    names = []
    for choice in choices:
        if choice.has("expression"):
            names.append(choice.text("expression"))
        elif choice.has("license"):
            licence = choice.object("license")
            names.append(licence.optional_text("id") or licence.optional_text("name") or UNKNOWN_LICENCE)
    return ", ".join(names) or UNKNOWN_LICENCE
