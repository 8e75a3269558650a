"""What hosts have installed, from their receipts: on this host, or collected from many."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributor.host.status import find_venvs
from manifests.artifact import Artifact
from manifests.contents import ArtifactContents
from manifests.documents import MAX_DOCUMENT_BYTES, Sha256, parse_json
from manifests.errors import InvalidInput, NotFound, StoreUnavailable
from manifests.fields import Fields
from manifests.layout import MANIFEST

Known = Mapping[tuple[str, Sha256], ArtifactContents]
"""Contents of artifacts, by service and the digest of the stored manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostVenv:
    """A venv that a host has: what it is, and what it holds (None where no release here says that)."""

    host: str
    path: str
    service: str
    release: str
    version: str
    target: str
    contents: ArtifactContents | None


def host_venvs(places: Sequence[Path], known: Known) -> list[HostVenv]:
    """Return the venvs at *places*: on this host, or in documents that hosts printed.

    A place is a venv or a folder of some, or a file that ``venvoy status --json`` printed (the file's name
    without its ending is the host's), or a folder of such files. Contents of other hosts' venvs are taken
    from *known*. Raises NotFound, InvalidInput naming the file.
    """
    found: list[HostVenv] = []
    for place in places:
        files = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if place.is_dir() and not files:
            found += _here(place)
        else:
            found += (venv for file in files for venv in _collected(file, known))
    return sorted(found, key=lambda venv: (venv.host, venv.path))


def _here(place: Path) -> Iterator[HostVenv]:
    for venv in find_venvs([place]):
        receipt = venv.receipt
        try:
            artifact = Artifact.from_json((venv.path / MANIFEST).read_bytes())
        except (OSError, InvalidInput):
            artifact = None
        yield HostVenv(
            host=socket.gethostname(),
            path=str(venv.path),
            service=receipt.service,
            release=receipt.release,
            version=receipt.version,
            target=receipt.target,
            contents=ArtifactContents.of(artifact) if artifact is not None else None,
        )


def _collected(file: Path, known: Known) -> Iterator[HostVenv]:
    for item in _receipts(file):
        service = item.text("service")
        yield HostVenv(
            host=item.optional_text("host") or file.stem,
            path=item.optional_text("path") or item.text("destination"),
            service=service,
            release=item.text("release"),
            version=item.text("version"),
            target=item.text("target"),
            contents=known.get((service, item.sha256("manifest_sha256"))),
        )


def _receipts(file: Path) -> Iterable[Fields]:
    """Return the receipts in *file*: those of a status, or a single one."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{file} does not exist; name venvs, or what 'venvoy status --json' printed") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {file}: {error.strerror}") from error
    top = Fields(parse_json(data, what=str(file)), str(file))
    return top.objects("venvs") if top.has("venvs") else [top]
