"""Small artifacts that are real, and a signed store to publish them to or to attack."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import zstandard

from distributor.publishing.built_files import BuiltFiles
from distributor.publishing.initialisation import initialise
from distributor.publishing.keys import ROLES, load_signers
from distributor.publishing.repository import (
    PIN_ROLES,
    PUBLISH_ROLES,
    PublishResult,
    Repository,
    open_repository,
)
from distributor.stores.directory import DirectoryStore
from distributor.trust.roles import meta_file, metadata_path
from distributor.trust.trust import Trust
from distributor.trust.tuf_api import Metadata, Signer
from manifests.artifact import Artifact, Layer, Needs
from manifests.documents import Sha256, digest_of, sha256_bytes
from manifests.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from manifests.pins import ReleasePins

TARGET = "cp311-linux_x86_64-glibc2.36"
_END = b"\0" * 1024


def build_artifact(
    directory: Path,
    service: str = "keystone",
    version: str = "28.0.0",
    content: bytes = b"print('hello')\n",
    *,
    target: str = TARGET,
    layers: int = 2,
) -> BuiltFiles:
    """Write ``artifacts/<service>/<stem>.tar.zst`` and ``.json`` below *directory*."""
    bodies = [_tar({f"lib/module_{index}.py": content}) for index in range(layers)]
    bodies[-1] += _END
    tarball = b""
    described = []
    for index, body in enumerate(bodies):
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        described.append(
            Layer(
                distribution=f"module-{index}",
                version=version,
                wheel=f"module_{index}-{version}-py3-none-any.whl",
                wheel_sha256=sha256_bytes(content),
                offset=len(tarball),
                length=len(packed),
                sha256=sha256_bytes(packed),
                tar_length=len(body),
                tar_sha256=sha256_bytes(body),
                members=2,
            )
        )
        tarball += packed
    artifact = Artifact(
        service=service,
        version=version,
        target=Target.parse(target),
        identity=digest_of(
            {"service": service, "version": version, "target": target, "content": str(content)}
        ),
        compiled_by=None,
        compression="zstd",
        needs=Needs(python="cp311", machine="x86_64", libc="glibc", libc_version="2.36", libraries={}),
        layers=tuple(described),
        length=len(tarball),
        sha256=Sha256(hashlib.sha256(tarball).hexdigest()),
    )
    folder = directory / "artifacts" / service
    folder.mkdir(parents=True, exist_ok=True)
    built = BuiltFiles(
        artifact=artifact,
        tarball=folder / f"{artifact.stem}.tar.zst",
        manifest=folder / f"{artifact.stem}.json",
    )
    built.tarball.write_bytes(tarball)
    built.manifest.write_bytes(artifact.to_json())
    return built


def _tar(files: dict[str, bytes]) -> bytes:
    """Return tar members without the archive's end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folder = tarfile.TarInfo("lib")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        end = archive.offset
    return buffer.getvalue()[:end]


class Site:
    """A signed store in *directory* with all its keys, and one way for each thing that tests do to it."""

    def __init__(self, directory: Path, *, now: datetime | None = None) -> None:
        self.directory = directory
        self.keys = directory / "keys"
        self.build = directory / "build"
        self.store = DirectoryStore(directory / "store")
        self.root = initialise(self.store, self.keys, now=now or datetime.now(timezone.utc))

    def repository(self, roles: tuple[str, ...] = PUBLISH_ROLES) -> Repository:
        return open_repository(self.store, self.keys, roles)

    def publish(self, *artifacts: BuiltFiles) -> PublishResult:
        return self.repository().publish(artifacts)

    def pin(self, release: str, *artifacts: BuiltFiles) -> ReleasePins:
        repository = self.repository(PIN_ROLES)
        return repository.pin(release, repository.pins_for([built.artifact for built in artifacts]))

    def trust(self, host: str = "host", **options: Any) -> Trust:
        return Trust(self.store, self.directory / host, self.root, **options)

    def refreshed(self, host: str = "host", **options: Any) -> Trust:
        trust = self.trust(host, **options)
        trust.refresh()
        return trust

    def path(self, name: str) -> Path:
        """Where an object lies, for those who tamper with it."""
        return self.directory / "store" / name

    def save(self) -> Path:
        """Copy the store aside, as an attacker does who means to play it back."""
        copy = self.directory / f"saved-{len(list(self.directory.glob('saved-*')))}"
        shutil.copytree(self.directory / "store", copy)
        return copy

    def play_back(self, copy: Path) -> None:
        shutil.rmtree(self.directory / "store")
        shutil.copytree(copy, self.directory / "store")

    def newest(self, role: str) -> int:
        names = self.path("metadata").glob(f"*.{role}.json")
        return max(int(path.name.partition(".")[0]) for path in names)

    def forge(self, role: str, change: Callable[[Any], None], *, key: str | None = None) -> None:
        """Change *role*'s newest metadata, sign it by *key* (default: its own), and all that follows.

        The online keys sign snapshot and timestamp: what an attacker does who holds them.
        """
        signers = load_signers(self.keys, ROLES)
        metadata = self._read(f"metadata/{self.newest(role)}.{role}.json")
        change(metadata.signed)
        metadata.signed.version += 1
        data = self._write(metadata, role, signers[key or role][0])
        if role == "root":
            return
        if role != "snapshot":
            version = metadata.signed.version
            metadata = self._read(f"metadata/{self.newest('snapshot')}.snapshot.json")
            metadata.signed.meta[f"{role}.json"] = meta_file(version, data)
            metadata.signed.version += 1
            data = self._write(metadata, "snapshot", signers["snapshot"][0])
        timestamp = self._read("metadata/timestamp.json")
        timestamp.signed.snapshot_meta = meta_file(metadata.signed.version, data)
        timestamp.signed.version += 1
        self._write(timestamp, "timestamp", signers["timestamp"][0])

    def _read(self, path: str) -> Metadata[Any]:
        return Metadata[Any].from_bytes(self.path(path).read_bytes())

    def _write(self, metadata: Metadata[Any], role: str, signer: Signer) -> bytes:
        metadata.sign(signer)
        data = metadata.to_bytes()
        self.path(metadata_path(role, metadata.signed.version)).write_bytes(data)
        return data
