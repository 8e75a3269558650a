"""Bundles: a release with its artifacts and trust in one file, for sites without a network.

A bundle holds signed metadata, pins, manifests and tarballs as a store does, and is verified as one:
signatures, versions, digests. Freshness is not asked for, since a file on a shelf has none.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from distributor.bundles.tool import bootstrap_files, host_parts
from distributor.bundles.verified import VerifiedTarball
from distributor.system.unnamed import give_name, unnamed_file
from distributor.trust.channels import channel_heads
from distributor.trust.roles import TIMESTAMP, is_bin, metadata_path
from distributor.trust.trust import Trust
from manifests.atomic_file import sync_directory, temporary_name
from manifests.companions import provenance_path, sbom_path
from manifests.documents import MAX_DOCUMENT_BYTES, Sha256
from manifests.errors import NotFound
from manifests.pins import pins_path

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from manifests.artifact import Artifact
    from manifests.pins import ReleasePins

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a bundle holds: artifacts by their labels; its length in bytes and its digest."""

    artifacts: tuple[str, ...]
    length: int
    sha256: Sha256


def export_bundle(  # noqa: PLR0913 - what, whence, whither
    store: ReadStore,
    trust: Trust,
    release: str,
    services: Sequence[str],
    output: Path,
    *,
    with_tool: bool = False,
    for_hosts: bool = False,
    progress: Progress = lambda *_: None,
) -> Exported:
    """Write what *release* pins for *services* (none named: all), verified, to the file *output*.

    *with_tool* adds Venvoy's host part, and what starts it on a bare host. *for_hosts* leaves out the hashed
    bins that sign nothing of it: a host asks for no other, a store does. *trust* is refreshed. The
    same state gives the same bytes; a kill leaves the file that was there. Raises NotFound for what is
    not pinned or published, VerificationFailed for damaged artifacts, StoreUnavailable; OSError.
    """
    pins = trust.pins(release)
    manifests = _chosen(pins, services)
    artifacts = {path: _manifest(trust, pins, path) for path in manifests}
    first: list[tuple[str, bytes]] = []
    if with_tool:
        tools = host_parts(trust, pins)
        artifacts |= {artifact.manifest_path: artifact for artifact in tools}
        first = bootstrap_files(tools)
    total = sum(artifact.length for artifact in artifacts.values())
    done = 0

    def copied(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    with unnamed_file(output.parent) as held:
        sink = _Hashed(held)
        with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w", format=tarfile.PAX_FORMAT) as archive:
            documents = _documents(store, trust, release, artifacts.values(), for_hosts=for_hosts)
            for name, data in [*first, *documents]:
                _add(archive, name, len(data), io.BytesIO(data))
            for artifact in artifacts.values():
                reader = VerifiedTarball(store, artifact, copied)
                _add(archive, artifact.tarball_path, artifact.length, reader)
                reader.finish()
        _replace(held, output)
        return Exported(
            artifacts=tuple(artifact.stem for artifact in artifacts.values()),
            length=held.tell(),
            sha256=Sha256(sink.digest.hexdigest()),
        )


def _chosen(pins: ReleasePins, services: Sequence[str]) -> list[str]:
    missing = set(services) - {pin.service for pin in pins.pins}
    if missing:
        raise NotFound(f"release {pins.release} has no {', '.join(sorted(missing))}")
    return [pin.manifest for pin in pins.pins if not services or pin.service in services]


def _manifest(trust: Trust, pins: ReleasePins, path: str) -> Artifact:
    return trust.manifest(next(pin for pin in pins.pins if pin.manifest == path))


def _documents(
    store: ReadStore, trust: Trust, release: str, artifacts: Collection[Artifact], *, for_hosts: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield all but the tarballs: each was verified when *trust* read it, or is again when it is used."""
    root = trust.signed("root")
    for version in range(1, root.version + 1):
        path = metadata_path("root", version)
        yield path, store.read(path, limit=MAX_DOCUMENT_BYTES)
    beside = [path for artifact in artifacts for path in (sbom_path(artifact), provenance_path(artifact))]
    signed = [*(artifact.manifest_path for artifact in artifacts), *beside]
    needed = {trust.responsible(path)[0] for path in signed}
    for role, number in trust.versions().items():
        if for_hosts and is_bin(role) and role not in needed:
            continue
        path = metadata_path(role, number)
        yield path, store.read(path, limit=MAX_DOCUMENT_BYTES)
    yield TIMESTAMP, store.read(TIMESTAMP, limit=MAX_DOCUMENT_BYTES)
    for target in channel_heads(trust).values():
        yield target.path, trust.read(target)
    yield pins_path(release), trust.document(pins_path(release))
    for artifact in artifacts:
        yield artifact.manifest_path, trust.document(artifact.manifest_path)
    for path, target in trust.find_all(beside).items():
        yield path, trust.read(target)


def _add(archive: tarfile.TarFile, name: str, size: int, content: io.IOBase) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    archive.addfile(info, cast("IO[bytes]", content))


class _Hashed:
    """Writes to a file, and takes the digest of what it wrote."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def _replace(held: IO[bytes], output: Path) -> None:
    """Give the complete *held* its name, in the place of what may be there."""
    held.flush()
    os.fchmod(held.fileno(), 0o644)
    os.fsync(held.fileno())
    temporary = output.with_name(temporary_name())
    try:
        give_name(held, temporary)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(output.parent)
