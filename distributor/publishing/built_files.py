"""What a build left for publishing: tarballs with their manifests next to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.artifact import Artifact
from manifests.companions import sbom_path, statement_path
from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import InvalidInput, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class BuiltFiles:
    """One artifact and its two files: the tarball and the plain manifest ``<stem>.json``.

    Its companions are looked for in the same build, from the folder on that holds ``artifacts``.
    """

    artifact: Artifact
    tarball: Path
    manifest: Path

    def sbom(self) -> bytes | None:
        """Return the bill of materials, or None where the build wrote none."""
        return self._beside(sbom_path(self.artifact))

    def statement(self) -> bytes | None:
        """Return the unsigned provenance, or None where the build wrote none."""
        return self._beside(statement_path(self.artifact))

    def _beside(self, path: str) -> bytes | None:
        file = self.manifest.parent.parent.parent / path
        return read_manifest(file) if file.is_file() else None

    @classmethod
    def of(cls, manifest: Path) -> BuiltFiles:
        """Read the *manifest* and find its tarball. Raises InvalidInput or NotFound."""
        artifact = Artifact.from_json(read_manifest(manifest), what=str(manifest))
        if manifest.name != f"{artifact.stem}.json":
            raise InvalidInput(
                f"{manifest} describes {artifact.stem}; its name should be {artifact.stem}.json"
            )
        tarball = manifest.with_name(artifact.tarball_path.rpartition("/")[2])
        if not tarball.is_file():
            raise NotFound(f"{manifest} has no tarball {tarball.name} next to it")
        return cls(artifact=artifact, tarball=tarball, manifest=manifest)


def find_built(directories: Iterable[Path]) -> list[BuiltFiles]:
    """Return everything built below *directories*: ``**/artifacts/<service>/<stem>.json``.

    Raises NotFound for a directory that holds nothing of the kind.
    """
    found: list[BuiltFiles] = []
    for directory in directories:
        here = [BuiltFiles.of(path) for path in sorted(directory.glob("**/artifacts/*/*.json"))]
        if not here:
            raise NotFound(
                f"{directory} holds no artifacts/<service>/*.json; was it built with 'venvoy build'?"
            )
        found.extend(here)
    return found


def read_manifest(path: Path) -> bytes:
    """Return the bytes of a plain manifest, bounded. Raises NotFound, InvalidInput, StoreUnavailable."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(f"{path} is larger than a manifest may be ({MAX_DOCUMENT_BYTES} bytes)")
    return data


def named_artifacts(names: Iterable[str]) -> list[Artifact | str]:
    """Return what *names* mean: all artifacts of a name that is a directory, else the name itself."""
    items: list[Artifact | str] = []
    for name in names:
        directory = Path(name)
        if directory.is_dir():
            items.extend(built.artifact for built in find_built([directory]))
        else:
            items.append(name)
    return items
