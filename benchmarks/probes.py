"""Parts of Venvoy, each in a process of its own: ``python -m benchmarks.probes``.

They print one JSON document: the wall clock of the part alone, and the processor time of this process
and the children it waited for, before the part and during it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Run the probe that the command line names."""
    name, *arguments = sys.argv[1:]
    _PROBES[name](*arguments)


def unpack(manifest: str, store: str, root: str, jobs: str) -> None:
    """Verify and unpack the artifact of *manifest* from the directory store below *root*."""
    from distributor.layers.cache import OpenedLayer, verified_bytes
    from distributor.layers.unpack import Unpacker
    from distributor.stores.directory import DirectoryStore
    from manifests.artifact import Artifact, Layer

    artifact = Artifact.from_json(Path(manifest).read_bytes())
    source = DirectoryStore(Path(store))
    Path(root).mkdir(mode=0o700)

    def stream(layer: Layer, private: Path) -> OpenedLayer:
        chunks = source.stream(artifact.tarball_path, offset=layer.offset, length=layer.length)
        return OpenedLayer(verified_bytes(layer, chunks, private), layer.length)

    _timed(Unpacker(artifact, stream, Path(root), jobs=int(jobs)).run)


def layers(spec: str, wheels: str, cache: str, jobs: str) -> None:
    """Build the layers of all distinct wheels of *spec* into the empty *cache*; nothing else."""
    from builder.execution.crew import build_layers
    from builder.execution.local import LocalCrew
    from builder.jobs import chosen_jobs
    from builder.layers.compression import Compression
    from builder.layers.layer import LayerRequest
    from builder.release_build import Preparation
    from builder.wheels.cache import WheelCache
    from manifests.release_spec import read_release_spec

    release = read_release_spec(Path(spec))
    preparation = Preparation(cache=WheelCache(Path(wheels)), offline=True)
    builds = preparation.prepare(release, chosen_jobs(release, (), ()), lambda *_: None, lambda _: None)
    requests = {}
    for build in builds:
        interpreter = build.interpreter
        for wheel in build.wheels:
            request = LayerRequest(
                distribution=wheel.name,
                version=wheel.version,
                wheel=wheel.path,
                wheel_sha256=wheel.sha256,
                target=build.target,
                interpreter=interpreter.executable if interpreter else None,
                interpreter_version=interpreter.version if interpreter else None,
                compression=Compression(),
            )
            requests[request.key] = request
    _timed(
        lambda: build_layers(
            requests.values(), Path(cache), crew=LocalCrew(jobs=int(jobs)), done=lambda _: None
        ),
        layers=len(requests),
    )


def _timed(part: Callable[[], None], **facts: int) -> None:
    before = _cpu()
    started = time.perf_counter()
    part()
    wall = time.perf_counter() - started
    print(json.dumps({"wall": wall, "cpu_before": before, "cpu": _cpu() - before, **facts}))


def _cpu() -> float:
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


_PROBES: dict[str, Callable[..., None]] = {"unpack": unpack, "layers": layers}

if __name__ == "__main__":
    main()
