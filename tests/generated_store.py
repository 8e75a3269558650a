"""Signed stores of many releases, made up: what is signed is there, tarballs are not.

``GeneratedStore`` has all documents that pages show, of packages from a real list; ``ScaleSite`` has the
metadata of as many artifacts as sites get, and one release of real ones. The same arguments give the same
store, but for keys and times.
"""

from __future__ import annotations

import hashlib
import json
import random
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from distributor.publishing.initialisation import initialise
from distributor.publishing.keys import ROLES
from distributor.publishing.payload import target_of
from distributor.publishing.promotion import promote
from distributor.publishing.repository import Repository, open_repository
from distributor.stores.directory import DirectoryStore
from distributor.trust.gzipped import compress
from distributor.trust.tuf_api import TargetFile
from manifests.artifact import Artifact, EntryPoint, Layer, Needs
from manifests.companions import PREDICATE_TYPE, STATEMENT_TYPE, provenance_path, sbom_path
from manifests.contents import ArtifactContents, ReleaseContents, contents_path
from manifests.documents import Sha256, sha256_bytes
from manifests.naming import artifact_stem
from manifests.pins import Pin, ReleasePins
from manifests.target import Target
from tests.distributor.artifacts import Site, build_artifact

CONSTRAINTS = Path(__file__).resolve().parent.parent / "examples/openstack-2026.1/upper-constraints.txt"
SERVICES = (
    *("keystone", "nova", "neutron", "glance", "cinder", "placement", "horizon", "heat", "octavia"),
    *("designate", "barbican", "manila", "ironic", "magnum", "swift", "aodh", "ceilometer", "gnocchi"),
    *("masakari", "mistral", "trove", "zun", "cloudkitty", "blazar", "watcher", "tacker", "skyline"),
    *("cyborg", "freezer", "adjutant"),
)
TARGETS = (
    *("cp311-linux_x86_64-glibc2.36", "cp312-linux_x86_64-glibc2.39"),
    *("cp312-linux_aarch64-glibc2.39",),
)
SCALE_TARGETS = tuple(f"cp3{minor}-linux_x86_64-glibc2.36" for minor in (10, 11, 12))
_SCALE_PACKAGES = 136
LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause", "MPL-2.0", "ISC", "Apache-2.0 OR MIT")


def _digest(*words: object) -> Sha256:
    return Sha256(hashlib.sha256(repr(words).encode()).hexdigest())


@dataclass(kw_only=True)
class GeneratedStore:
    """*releases* times *services* times *targets*; *change* is the share of services that change in each."""

    directory: Path
    releases: int = 12
    services: int = 8
    targets: int = 2
    change: float = 0.3
    packages: int = 60
    _random: random.Random = field(default_factory=lambda: random.Random(26))
    _made: dict[str, Artifact] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.directory / "store"

    @property
    def options(self) -> list[str]:
        root = self.directory / "keys/root.json"
        return ["--store", str(self.store), "--root", str(root), "--state", str(self.directory / "state")]

    def names(self) -> list[str]:
        """The names of the releases, in order: three a month."""
        return [f"2026.{1 + index // 30}.{index % 30}" for index in range(self.releases)]

    def make(self) -> GeneratedStore:
        backend = DirectoryStore(self.store)
        initialise(backend, self.directory / "keys", now=datetime.now(timezone.utc))
        repository = open_repository(backend, self.directory / "keys", ROLES[2:])
        pins = self._artifacts(repository)
        targets = {}
        for name, mine in zip(self.names(), pins, strict=True):
            contents = ReleaseContents.of(name, [self._made[pin.manifest] for pin in mine])
            documents, target = _release(mine, contents)
            for path, data in documents.items():
                self._write(path, data)
            targets[target.path] = target
        repository._sign(targets, lambda _: None)
        names = self.names()
        stable = [(name, "stable") for name in names[1::5]]
        for name, channel in [*stable, (names[-1], "candidate")]:
            promote(repository, channel, name, who="Ada Lovelace", why=f"Passed the gate of {name}")
        return self

    def _write(self, path: str, data: bytes) -> None:
        """Put an object into the store as it is on disk; nobody else looks yet, and nothing is synced."""
        place = self.store / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def _artifacts(self, repository: Repository) -> list[tuple[Pin, ...]]:
        wanted = [line.split(";")[0].strip() for line in CONSTRAINTS.read_text().splitlines()]
        pairs = [line.split("===") for line in wanted if "===" in line]
        pool = sorted((canonicalize_name(name), version) for name, version in pairs)
        chosen = {
            service: sorted(self._random.sample(pool, self.packages)) for service in SERVICES[: self.services]
        }
        versions = dict(pool)
        current: dict[tuple[str, str], Pin] = {}
        signed = {}
        releases = []
        for number in range(self.releases):
            for name in self._random.sample(sorted(versions), 6):
                versions[name] = _next(versions[name], self._random)
            for index, service in enumerate(chosen):
                if current.get((service, TARGETS[0])) and self._random.random() > self.change:
                    continue
                for target in TARGETS[: self.targets]:
                    packages = [(name, versions[name]) for name, _ in chosen[service]]
                    artifact = _artifact(service, f"{20 + index}.0.{number}", target, packages)
                    self._made[artifact.manifest_path] = artifact
                    for path, data in _documents(artifact).items():
                        self._write(path, data)
                        signed[path] = target_of(path, data)
                    entry = signed[artifact.manifest_path]
                    current[service, target] = Pin(
                        service=service,
                        target=target,
                        version=artifact.version,
                        manifest=artifact.manifest_path,
                        length=entry.length,
                        sha256=Sha256(entry.hashes["sha256"]),
                    )
            releases.append(tuple(current.values()))
        repository._sign(signed, lambda _: None)
        return releases


class ScaleSite(Site):
    """*releases* of *services*, each on three targets; every release has artifacts of its own.

    Each artifact has a manifest, a bill of materials, provenance, and a patch from the release before it:
    four signed paths. The last release is built, published and pinned; the others are metadata.
    """

    def __init__(self, directory: Path, *, releases: int = 200, services: int = 30) -> None:
        super().__init__(directory)
        self.names = [f"service-{number:02}" for number in range(services)]
        self.releases = [f"2026.{number}.0" for number in range(releases)]
        signed = {}
        for number, release in enumerate(self.releases[:-1]):
            pins = tuple(_made_up(release, name, target) for name in self.names for target in SCALE_TARGETS)
            for pin in pins:
                for path in _four_paths(pin):
                    signed[path] = TargetFile(pin.length, {"sha256": sha256_bytes(path.encode())}, path)
            packages = tuple((f"package-{index:03}", f"{index}.{number}") for index in range(_SCALE_PACKAGES))
            held = ArtifactContents(length=75_000_000, unpacked=300_000_000, packages=packages)
            contents = ReleaseContents(
                release=release, artifacts={(pin.service, pin.target): held for pin in pins}
            )
            documents, target = _release(pins, contents, barriers={})
            for path, data in documents.items():
                self.store.write_if_absent(path, data)
            signed[target.path] = target
        self.repository(ROLES[2:])._sign(signed, lambda _: None)
        self.last = self.releases[-1]
        self.real = [
            build_artifact(self.build, name, self.last, layers=20, target=target)
            for name in self.names
            for target in SCALE_TARGETS
        ]
        self.publish(*self.real)
        self.pin(self.last, *self.real)


def _made_up(release: str, name: str, target: str) -> Pin:
    identity = sha256_bytes(f"{release} {name} {target}".encode())
    manifest = f"artifacts/{name}/{artifact_stem(name, release, target, identity)}.json.gz"
    return Pin(
        service=name,
        target=target,
        version=release,
        manifest=manifest,
        length=30_000,
        sha256=sha256_bytes(manifest.encode()),
    )


def _four_paths(pin: Pin) -> tuple[str, ...]:
    stem = pin.manifest.rpartition("/")[2].removesuffix(".json.gz")
    return (
        pin.manifest,
        f"sbom/{pin.service}/{stem}.cdx.json",
        f"provenance/{pin.service}/{stem}.intoto.json",
        f"patches/{pin.service}/{stem}-from-{pin.sha256[:12]}.json.gz",
    )


def _release(
    pins: tuple[Pin, ...], contents: ReleaseContents, *, barriers: dict[str, str] | None = None
) -> tuple[dict[str, bytes], TargetFile]:
    """Return the documents of a release by path, and what is to be signed of them."""
    digest = sha256_bytes(contents.to_json())
    pinned = ReleasePins(release=contents.release, pins=pins, contents=digest, barriers=barriers)
    documents = {
        contents_path(contents.release, digest): compress(contents.to_json()),
        pinned.path: pinned.to_json(),
    }
    return documents, target_of(pinned.path, documents[pinned.path])


def _next(version: str, chance: random.Random) -> str:
    parts = version.split(".")
    place = chance.randrange(len(parts))
    digits = "".join(char for char in parts[place] if char.isdigit()) or "0"
    return ".".join([*parts[:place], str(int(digits) + 1), *("0" for _ in parts[place + 1 :])])


def _artifact(service: str, version: str, target: str, packages: list[tuple[str, str]]) -> Artifact:
    grown = int(version.rpartition(".")[2])
    layers = []
    offset = 0
    for name, number in [("_skeleton", ""), (service, version), *packages]:
        weight = int(_digest(name)[:4], 16) ** 2 // 900 + 4000
        length = weight + int(_digest(name, number)[:3], 16) * weight // 9000
        length = (
            length
            * (1000 + 7 * grown + (60 if "aarch64" in target else 35 if "cp312" in target else 0))
            // 1000
        )
        wheel = f"{name}-{number}-py3-none-any.whl" if number else ""
        layers.append(
            Layer(
                distribution=name,
                version=number,
                wheel=wheel,
                wheel_sha256=_digest(wheel) if wheel else None,
                offset=offset,
                length=length,
                sha256=_digest(wheel, 1),
                tar_length=3 * length + 512,
                tar_sha256=_digest(wheel, 2),
                members=20,
            )
        )
        offset += length
    needs = Needs(
        python=target[:5],
        machine="aarch64" if "aarch64" in target else "x86_64",
        libc="glibc",
        libc_version=target.rpartition("glibc")[2],
        libraries={"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34"), "libffi.so.8": ("LIBFFI_BASE_8.0",)},
    )
    artifact = Artifact(
        service=service,
        version=version,
        target=Target.parse(target),
        identity=_digest(service, version, target, packages),
        compression="zstd",
        compiled_by="3.11.7",
        needs=needs,
        layers=tuple(layers),
        length=offset,
        sha256=_digest(service, version, target, packages, "tarball"),
        entry_points=tuple(
            EntryPoint(name=f"{service}-{what}", module=f"{service}.cmd.{what}", attribute="main")
            for what in ("api", "manage", "status")
        ),
    )
    return replace(artifact, rollback_barrier="contract") if version.endswith("7") else artifact


def _documents(artifact: Artifact) -> dict[str, bytes]:
    components: list[dict[str, Any]] = [
        {
            "type": "library",
            "name": layer.distribution,
            "version": layer.version,
            "description": f"What {layer.distribution} is for",
            "purl": f"pkg:pypi/{layer.distribution}@{layer.version}",
            "licenses": [{"license": {"id": LICENCES[int(_digest(layer.distribution)[0], 16) % 6]}}],
            "hashes": [{"alg": "SHA-256", "content": layer.wheel_sha256}],
        }
        for layer in artifact.layers
        if layer.wheel
    ]
    root = {"type": "application", "name": artifact.service, "version": artifact.version}
    hashes = [{"alg": "SHA-256", "content": artifact.sha256}]
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**root, "hashes": hashes}},
        "components": components,
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"name": artifact.tarball_path, "digest": {"sha256": artifact.sha256}}],
        "predicate": {
            "buildDefinition": {"externalParameters": {"release": "2026.1.0"}},
            "runDetails": {
                "builder": {"id": "https://builder.example/3", "version": {"venvoy": "0.1.0"}},
                "metadata": {"finishedOn": "2026-11-20T09:30:00Z"},
            },
        },
    }
    payload = b64encode(json.dumps(statement).encode()).decode()
    envelope = {"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": []}
    return {
        artifact.manifest_path: compress(artifact.to_json()),
        sbom_path(artifact): json.dumps(sbom).encode(),
        provenance_path(artifact): json.dumps(envelope).encode(),
    }
