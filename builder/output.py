"""The folder that a build fills: what lies there whole, and how documents come into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from manifests.artifact import Artifact
from manifests.atomic_file import write_atomically
from manifests.errors import InvalidInput, StoreUnavailable


def built_manifest_path(artifact: Artifact) -> str:
    """Return the path of *artifact*'s manifest in the folder; in stores it is compressed."""
    return artifact.manifest_path.removesuffix(".gz")


def already_built(draft: Artifact, output: Path, beside: Iterable[str]) -> Artifact | None:
    """Return the artifact in *output* if it was built from the inputs of *draft* and lies there whole.

    *beside* are paths of documents that belong to it.
    """
    manifest = output / built_manifest_path(draft)
    try:
        known = Artifact.from_json(manifest.read_bytes(), what=str(manifest))
        size = (output / draft.tarball_path).stat().st_size
    except (OSError, InvalidInput):
        return None
    whole = size == known.length and all((output / path).is_file() for path in beside)
    return known if whole and known == replace(draft, sha256=known.sha256) else None


def write_documents(output: Path, documents: Mapping[str, bytes]) -> None:
    """Write *documents*, by path, in their order: the manifest, which says that all is there, comes last.

    Raises StoreUnavailable where the disk fails.
    """
    for path, data in documents.items():
        file = output / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)
        except OSError as error:
            raise StoreUnavailable(f"cannot write {file}: {error.strerror}") from error
