"""Patches: what leads from the layers of one artifact to those of another, layer by layer.

One set for a pair of artifacts: a document, signed like a manifest, and a file of patches beside it.
A patch is a zstd frame whose prefix is the old layer's tar bytes (``zstd --patch-from``); what comes of
it must be the new layer's tar bytes, whose digest its manifest holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests.artifact import Artifact
from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import service_name

FORMAT_MAJOR = 1
FORMAT = "1.0"
MEMORY_LIMIT = 256 * 1024 * 1024
"""Bytes that applying a patch may need."""
_ID_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One layer's patch. *base* and *layer* are tar digests, ``offset`` and ``length`` are in the file."""

    layer: Sha256
    base: Sha256
    base_length: int
    offset: int
    length: int
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class PatchSet:
    """All patches from the artifact of identity ``base`` to the one of identity ``artifact``."""

    service: str
    stem: str
    artifact: Sha256
    base: Sha256
    length: int
    sha256: Sha256
    patches: tuple[Patch, ...]

    @property
    def document_path(self) -> str:
        """The document's path in a store."""
        return patch_document_path(self.service, self.stem, self.base)

    @property
    def file_path(self) -> str:
        """The patches' path in a store."""
        return f"{self.document_path.removesuffix('.json.gz')}.patches"

    def to_json(self) -> bytes:
        """Return the canonical JSON of this set."""
        return canonical_json(
            {
                "format": FORMAT,
                "service": self.service,
                "stem": self.stem,
                "artifact": self.artifact,
                "base": self.base,
                "file": {"length": self.length, "sha256": self.sha256},
                "patches": [
                    {name: getattr(patch, name) for name in Patch.__dataclass_fields__}
                    for patch in self.patches
                ],
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> PatchSet:
        """Read a set. Raises InvalidInput naming the field; patches must lie within the file."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        file = top.object("file")
        found = cls(
            service=service_name(top.text("service")),
            stem=top.text("stem"),
            artifact=top.sha256("artifact"),
            base=top.sha256("base"),
            length=file.count("length"),
            sha256=file.sha256("sha256"),
            patches=tuple(_read(item) for item in top.objects("patches")),
        )
        if any(patch.offset + patch.length > found.length for patch in found.patches):
            raise InvalidInput(f"{what}: a patch lies beyond the end of the file")
        return found


def patch_document_path(service: str, stem: str, base: Sha256) -> str:
    """Return the path of the set that leads from the artifact *base* to the one labelled *stem*."""
    return f"patches/{service}/{stem}-from-{base[:_ID_DIGITS]}.json.gz"


def needed_memory(base_length: int, length: int) -> int:
    """Return the bytes that applying a patch takes: the base twice (zstd copies it), and the result."""
    return 2 * base_length + length


def leads_to(patches: PatchSet, artifact: Artifact) -> bool:
    """Say whether *patches* are what they are looked up as."""
    return (patches.service, patches.stem, patches.artifact) == (
        artifact.service,
        artifact.stem,
        artifact.identity,
    )


def _read(item: Fields) -> Patch:
    return Patch(
        layer=item.sha256("layer"),
        base=item.sha256("base"),
        base_length=item.count("base_length"),
        offset=item.count("offset"),
        length=item.count("length"),
        sha256=item.sha256("sha256"),
    )
