"""The bill of materials of an artifact (CycloneDX 1.6): a pure function of its inputs.

It names no time, no builder and no version of a tool, for two builds of the same inputs to give the
same bytes; those stand in the provenance.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.describing.dependencies import dependency_graph
from builder.describing.embedded import embed
from builder.describing.licences import licences

if TYPE_CHECKING:
    from builder.describing.wheel_facts import WheelFacts
    from manifests.artifact import Artifact, Layer

_NAMESPACE = uuid.UUID("5b3f2c0e-6a51-5d0b-9e39-0d1f5a2b7c64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """One wheel of an artifact: its layer there, and what the wheel says of itself."""

    layer: Layer
    facts: WheelFacts


def sbom_document(artifact: Artifact, materials: Sequence[Material], requirements: Sequence[str]) -> bytes:
    """Return the bill of materials of *artifact*, made of *materials*, as JSON.

    *requirements* are those of the service's specification; what they name comes first in the graph of
    dependencies.
    """
    root = _root(artifact)
    components = {
        material.layer.distribution: _component(material, artifact.target.site_packages)
        for material in materials
    }
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, artifact.sha256),
        metadata=BomMetaData(component=root, tools=ToolRepository(components=[_tool()])),
        components=components.values(),
    )
    graph = dependency_graph(
        {item.layer.distribution: item.facts.requires for item in materials}, requirements, artifact.target
    )
    direct = {canonicalize_name(Requirement(text).name) for text in requirements} & components.keys()
    needed = {name for names in graph.values() for name in names}
    graph_of_root = direct | (components.keys() - needed)
    bom.dependencies.add(_dependency(root, [components[name] for name in graph_of_root]))
    for name, names in graph.items():
        bom.dependencies.add(_dependency(components[name], [components[other] for other in names]))
    value: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del value["metadata"]["timestamp"]
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode("utf-8") + b"\n"


def _dependency(of: Component, on: Sequence[Component]) -> Dependency:
    return Dependency(of.bom_ref, [Dependency(component.bom_ref) for component in on])


def _tool() -> Component:
    return Component(type=ComponentType.APPLICATION, name="venvoy", bom_ref="tool:venvoy")


def _root(artifact: Artifact) -> Component:
    properties = {
        "venvoy:artifact": artifact.stem,
        "venvoy:identity": artifact.identity,
        "venvoy:target": str(artifact.target),
        "venvoy:tarball": artifact.tarball_path,
    }
    if artifact.compiled_by is not None:
        properties["venvoy:compiled-by"] = artifact.compiled_by
    for package in artifact.system_packages:
        properties[f"venvoy:system-package:{package}"] = "linked from the host"
    return Component(
        type=ComponentType.APPLICATION,
        name=artifact.service,
        version=artifact.version,
        bom_ref=f"artifact:{artifact.stem}",
        purl=PackageURL("generic", None, artifact.service, artifact.version, {"artifact": artifact.stem}),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.sha256)],
        properties=_properties(properties),
    )


def _component(material: Material, site_packages: str) -> Component:
    layer, facts = material.layer, material.facts
    purl = PackageURL("pypi", None, layer.distribution, layer.version, {"file_name": layer.wheel})
    component = Component(
        type=ComponentType.LIBRARY,
        name=layer.distribution,
        version=layer.version,
        description=facts.summary or None,
        bom_ref=f"pkg:pypi/{layer.distribution}@{layer.version}",
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=layer.wheel_sha256 or layer.sha256)],
        licenses=licences(facts),
        properties=_properties(
            {
                "venvoy:wheel": layer.wheel,
                "venvoy:layer:sha256": layer.sha256,
                "venvoy:layer:length": str(layer.length),
                "venvoy:layer:unpacked": str(layer.tar_length),
            }
        ),
    )
    embed(component, facts.sboms, site_packages)
    return component


def _properties(values: dict[str, str]) -> list[Property]:
    return [Property(name=name, value=value) for name, value in values.items()]
