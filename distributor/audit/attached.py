"""The verified documents beside an artifact in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.companions import (
    ListedComponent,
    check_sbom,
    provenance_path,
    read_sbom,
    sbom_path,
)
from manifests.errors import InvalidInput, NotFound, VerificationFailed

if TYPE_CHECKING:
    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact


def read_sbom_document(trust: Trust, artifact: Artifact) -> bytes:
    """Return the bill of materials that builders signed for *artifact*. Raises NotFound."""
    path = sbom_path(artifact)
    data = _document(trust, path, artifact, "bill of materials")
    try:
        check_sbom(data, artifact, what=path)
    except InvalidInput as error:
        raise VerificationFailed(str(error)) from None
    return data


def components(trust: Trust, artifact: Artifact) -> dict[str, ListedComponent]:
    """Return what the bill of *artifact* lists, by name; {} where it has none."""
    try:
        data = read_sbom_document(trust, artifact)
    except NotFound:
        return {}
    return read_sbom(data, what=sbom_path(artifact))


def read_envelope(trust: Trust, artifact: Artifact) -> bytes:
    """Return the provenance of *artifact* in its envelope, which was verified. Raises NotFound."""
    _, data = _provenance(trust, artifact)
    return data


def read_provenance(trust: Trust, artifact: Artifact) -> bytes:
    """Return the provenance of *artifact*, an in-toto statement. Raises NotFound."""
    statement, _ = _provenance(trust, artifact)
    return statement


def _provenance(trust: Trust, artifact: Artifact) -> tuple[bytes, bytes]:
    from distributor.publishing.companions import verified_statement

    path = provenance_path(artifact)
    data = _document(trust, path, artifact, "provenance")
    # Builders sign the envelope's digest now; its own signature may be by a key that was replaced since.
    return verified_statement(data, artifact, None, what=path), data


def _document(trust: Trust, path: str, artifact: Artifact, what: str) -> bytes:
    try:
        return trust.document(path)
    except NotFound:
        raise NotFound(f"{artifact.stem} has no {what}: it was published without one") from None
