"""Whose content belongs to the host: what the artifact says, and what this host adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manifests.artifact import Artifact, MutablePath
from manifests.errors import InvalidInput, VerificationFailed
from manifests.layout import MANIFEST
from manifests.receipt import read_receipt


def with_preserved(mutable: tuple[MutablePath, ...], preserve: Mapping[str, str]) -> tuple[MutablePath, ...]:
    """Return the paths of both, the outermost ones alone; an artifact's policy for the same path counts."""
    added = [MutablePath(path=path, policy=preserve[path]) for path in sorted(preserve)]
    merged = {item.path: item for item in (*added, *mutable)}
    return tuple(
        item
        for path, item in sorted(merged.items())
        if not any(path.startswith(f"{other}/") for other in merged)
    )


def mutable_paths_of(venv: Path) -> tuple[MutablePath, ...]:
    """Return the mutable paths of an installed *venv*. Raises VerificationFailed without a manifest."""
    manifest = venv / MANIFEST
    try:
        mutable = Artifact.from_json(manifest.read_bytes(), what=str(manifest)).mutable_paths
    except (OSError, InvalidInput) as error:
        raise VerificationFailed(f"{manifest} cannot be read: {error}; install with --repair") from error
    receipt = read_receipt(venv)
    return with_preserved(mutable, receipt.preserve if receipt else {})
