"""Files that an install writes into a venv beside the artifact's, such as lists of requirements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manifests.atomic_file import write_atomically
from manifests.documents import Sha256, sha256_bytes, sha256_file
from manifests.errors import Refused
from manifests.receipt import Receipt


def write_files(venv: Path, files: Mapping[str, bytes]) -> dict[str, Sha256]:
    """Write *files* into *venv*, a staged tree, and return their digests.

    Raises Refused where the artifact has something in such a place, OSError.
    """
    for path, content in files.items():
        place = venv / path
        if place.is_symlink() or place.exists():
            raise Refused(f"{path} is to be written into the venv, but its artifact has it already")
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o644)
    return digests(files)


def renew_files(venv: Path, files: Mapping[str, bytes], before: Mapping[str, Sha256]) -> None:
    """Bring *files* into *venv*, a live tree; those of *before* that nobody wants go. Raises OSError."""
    for path in before.keys() - files.keys():
        (venv / path).unlink(missing_ok=True)
    for path, content in files.items():
        (venv / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(venv / path, content)


def digests(files: Mapping[str, bytes]) -> dict[str, Sha256]:
    """Return the digest of each of *files*."""
    return {path: sha256_bytes(content) for path, content in sorted(files.items())}


def touched(venv: Path, receipt: Receipt) -> bool:
    """Whether a file of the install's own was changed or is gone: another tool was at work in *venv*."""
    for path, digest in receipt.files.items():
        try:
            if sha256_file(venv / path) != digest:
                return True
        except OSError:
            return True
    return False
