"""Bills of materials that wheels carry (PEP 770), as parts of the artifact's own.

Repairers list the system libraries there that they copied into a wheel, compilers of extensions their
crates. They are untrusted: what cannot be read is referred to, and its content left out.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component

from manifests.documents import parse_json
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.describing.wheel_facts import EmbeddedSbom

_MAX_COMPONENTS = 20_000
_MAX_DEPTH = 10
NOT_READ = "venvoy:embedded-sbom:not-read"
"""The property that names a bill whose content is left out, and why."""


def embed(owner: Component, sboms: tuple[EmbeddedSbom, ...], site_packages: str) -> None:
    """Refer from *owner* to each of *sboms*, and put what they list below it.

    *site_packages* is where the wheel's files stand in the venv. References of what is listed get the
    owner's before their own, so that two wheels may list the same thing.
    """
    for number, sbom in enumerate(sboms):
        path = f"{site_packages}/{sbom.path}"
        owner.external_references.add(
            ExternalReference(
                type=ExternalReferenceType.BOM,
                url=XsUri(path),
                comment="in the venv",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sbom.sha256)],
            )
        )
        try:
            listed = _listed(sbom)
        except InvalidInput as error:
            owner.properties.add(Property(name=NOT_READ, value=str(error)))
            continue
        for index, component in enumerate(_walk(listed, 0)):
            component.bom_ref.value = f"{owner.bom_ref.value}#{number}-{index}"
        owner.components.update(listed)


def _listed(sbom: EmbeddedSbom) -> list[Component]:
    """Return the components of a CycloneDX document. Raises InvalidInput saying why it is not read."""
    name = sbom.path.rpartition("/")[2]
    if not name.endswith(".json"):
        raise InvalidInput(f"{sbom.path}: only CycloneDX in JSON is read")
    value = parse_json(sbom.data, what=sbom.path)
    if value.get("bomFormat") != "CycloneDX":
        raise InvalidInput(f"{sbom.path}: only CycloneDX in JSON is read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older versions of the format, and of what it deprecates
            bom = Bom.from_json(value)  # type: ignore[attr-defined]  # the decorator adds it
        found = [*([bom.metadata.component] if bom.metadata.component else []), *bom.components]
        if sum(1 for _ in _walk(found, 0)) > _MAX_COMPONENTS:
            raise InvalidInput(f"{sbom.path}: it lists more than {_MAX_COMPONENTS} components")
    except InvalidInput:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises what its parts happen to raise
        raise InvalidInput(f"{sbom.path}: it is no valid CycloneDX ({type(error).__name__})") from None
    return found


def _walk(components: list[Component], depth: int) -> Iterator[Component]:
    if depth > _MAX_DEPTH:
        raise InvalidInput(f"components lie more than {_MAX_DEPTH} deep")
    for component in components:
        yield component
        yield from _walk(list(component.components), depth + 1)
