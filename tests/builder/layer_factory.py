"""Layers and artifacts for tests: built from tiny wheels, unpacked by other people's tools."""

from __future__ import annotations

import dataclasses
import io
import subprocess
from typing import TYPE_CHECKING

from builder.assemble import end_of_archive
from builder.layers.compression import Compression
from builder.layers.layer import LayerRecord, LayerRequest, build_layer
from builder.layers.skeleton import build_skeleton
from builder.pipeline import ArtifactBuilder, ServiceBuild
from builder.wheels.gathering import ResolvedWheel
from manifests.documents import Sha256
from manifests.release_spec import ServiceSpec
from tests.builder.interpreters import target_of
from tests.wheel_factory import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from builder.pipeline import BuiltArtifact
    from manifests.interpreter import Interpreter
    from manifests.target import Target

FAST = Compression("zstd", 1)


def request_for(
    wheel: Path,
    *,
    target: Target | None = None,
    interpreter: Interpreter | None = None,
    compression: Compression = FAST,
    digest: str | None = None,
) -> LayerRequest:
    """Return the request for *wheel*, whose name and version are taken from the file's name."""
    name, version = wheel.name.split("-")[:2]
    return LayerRequest(
        distribution=name.lower().replace("_", "-"),
        version=version,
        wheel=wheel,
        wheel_sha256=Sha256(digest or sha256(wheel)),
        target=target or target_of(),
        interpreter=interpreter.executable if interpreter else None,
        interpreter_version=interpreter.version if interpreter else None,
        compression=compression,
    )


def layer_of(request: LayerRequest) -> tuple[LayerRecord, bytes]:
    """Build a layer in memory."""
    sink = io.BytesIO()
    record = build_layer(request, sink)
    return record, sink.getvalue()


def unpack(directory: Path, *layers: bytes, compression: Compression = FAST) -> Path:
    """Unpack *layers* with GNU tar, and return *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    data = b"".join(layers) + end_of_archive(compression)
    option = "--zstd" if compression.kind == "zstd" else "-z"
    subprocess.run(["tar", option, "-xpf", "-"], cwd=directory, input=data, check=True)
    return directory


def skeleton_bytes(target: Target | None = None) -> bytes:
    """Build the skeleton layer in memory."""
    sink = io.BytesIO()
    build_skeleton(target or target_of(), FAST, sink)
    return sink.getvalue()


def resolved(wheel: Path) -> ResolvedWheel:
    """Return *wheel* as the resolver would."""
    name, version = wheel.name.split("-")[:2]
    return ResolvedWheel(
        name=name.lower().replace("_", "-"),
        version=version,
        path=wheel,
        sha256=Sha256(sha256(wheel)),
        filename=wheel.name,
        origin="test",
        pinned=True,
    )


def service_build(
    *wheels: Path, interpreter: Interpreter | None = None, target: Target | None = None, **spec: object
) -> ServiceBuild:
    """Return one artifact to build of *wheels*; *spec* are fields of the service."""
    where = target or target_of()
    service = dataclasses.replace(
        ServiceSpec(name="demo", requirements=("demo",), targets=(where,)),
        **spec,  # type: ignore[arg-type]
    )
    return ServiceBuild(
        service=service,
        target=where,
        version="1.0",
        wheels=tuple(resolved(wheel) for wheel in wheels),
        interpreter=interpreter,
    )


class Silent:
    """A build's progress that nobody watches; remembers which layers were built."""

    def __init__(self) -> None:
        self.built: list[str] = []

    def layers(self, done: int, total: int, name: str) -> None:
        self.built.append(name)

    def artifact(self, built: BuiltArtifact) -> None:
        pass


def build_artifact(
    root: Path, build: ServiceBuild, *, compression: Compression = FAST, jobs: int = 1
) -> BuiltArtifact:
    """Build one artifact into ``root/out`` with the cache ``root/cache``."""
    builder = ArtifactBuilder(
        cache_root=root / "cache", output=root / "out", compression=compression, jobs=jobs
    )
    return builder.build([build], Silent())[0]
