"""What a release manager signed away from the store: one file that whoever publishes there can forward."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from manifests.documents import canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import safe_relative_path

FORMAT_MAJOR = 1
FORMAT = "1.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Signed *metadata* of the role releases, and the *documents* by store path that it newly names."""

    metadata: bytes
    documents: dict[str, bytes] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the canonical JSON of this document."""
        documents = {path: _text(data) for path, data in self.documents.items()}
        return canonical_json({"format": FORMAT, "releases": _text(self.metadata), "documents": documents})

    @classmethod
    def from_json(cls, data: bytes, *, what: str = "proposal") -> Proposal:
        """Read a proposal. Raises InvalidInput naming the field. Nothing of it is verified."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        documents = top.object("documents").texts_by_name()
        return cls(
            metadata=_bytes(top.text("releases"), f"{what}.releases"),
            documents={
                safe_relative_path(path, what=f"{what}.documents"): _bytes(
                    text, f"{what}.documents[{path!r}]"
                )
                for path, text in documents.items()
            },
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{what}: is not base64") from None
