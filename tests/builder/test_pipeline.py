from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import signal
import subprocess
import tarfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from builder.assemble import DamagedLayer, Part, assemble, end_of_archive
from builder.execution.crew import build_layers
from builder.execution.local import LocalCrew
from builder.layers.cache import LayerCache
from builder.layers.compression import Compression
from builder.pipeline import ArtifactBuilder
from manifests.artifact import Artifact, Checks, MutablePath, Overlap
from manifests.errors import HostUnsuitable, Refused, StoreUnavailable, VerificationFailed
from manifests.layout import END, SKELETON
from tests.builder.interpreters import interpreter, target_of
from tests.builder.layer_factory import FAST, Silent, build_artifact, request_for, service_build
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from typing import Any


SITE = "lib/python3.11/site-packages"


def some_wheels(folder: Path) -> list[Path]:
    return [
        make_wheel(folder, "one", "1.0", {"one.py": b"x = 1\n"}, entry_points={"one": "one:main"}),
        make_wheel(folder, "two", "1.0", {"two/__init__.py": b"", "two/a.txt": bytes(3000)}),
        make_wheel(folder, "three", "1.0", data={"data/etc/three.conf": b"[DEFAULT]\n"}),
    ]


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_the_tarball_is_the_concatenation_that_the_manifest_says(kind: str, tmp_path: Path) -> None:
    compression = Compression(kind, 1)
    built = build_artifact(tmp_path, service_build(*some_wheels(tmp_path / "w")), compression=compression)
    data = built.tarball.read_bytes()
    artifact = Artifact.from_json(built.manifest.read_bytes())
    assert artifact == built.artifact
    assert (artifact.length, artifact.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [layer.distribution for layer in artifact.layers] == [SKELETON, "one", "two", "three", END]
    at, members = 0, 0
    for layer in artifact.layers:
        assert layer.offset == at
        packed = data[at : at + layer.length]
        at += layer.length
        assert layer.sha256 == hashlib.sha256(packed).hexdigest()
        plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read() if kind == "zstd" else gzip.decompress(packed)  # fmt: skip # noqa: E501
        assert (layer.tar_length, layer.tar_sha256) == (len(plain), hashlib.sha256(plain).hexdigest())
        with tarfile.open(fileobj=io.BytesIO(plain + bytes(1024))) as tar:
            found = len(tar.getmembers())
        assert layer.members == found
        members += found
    assert at == len(data)
    option = "--zstd" if kind == "zstd" else "-z"
    listed = subprocess.run(["tar", option, "-tf", built.tarball], check=True, capture_output=True, text=True)
    assert listed.stderr == ""
    assert len(listed.stdout.splitlines()) == members
    if kind == "gzip":
        with tarfile.open(built.tarball) as tar:
            assert len(tar.getmembers()) == members
            assert f"{SITE}/one.py" in tar.getnames()


def state_of(folder: Path) -> dict[Path, tuple[int, ...]]:
    """What a write would change of each file below *folder*; entries of the cache note when they are used."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        times = () if "cache" in path.parts else (status.st_mtime_ns, status.st_ctime_ns)
        found[path] = (status.st_ino, status.st_mode, status.st_size, *times)
    return found


def test_an_unchanged_rerun_writes_nothing(tmp_path: Path) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    first = build_artifact(tmp_path, build)
    before = state_of(tmp_path)
    again = build_artifact(tmp_path, build)
    assert again.unchanged
    assert not first.unchanged
    assert again.artifact == first.artifact
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("damage", ["truncated", "gone", "manifest", "edited"])
def test_what_is_not_whole_is_made_again(damage: str, tmp_path: Path) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    first = build_artifact(tmp_path, build)
    good = first.tarball.read_bytes(), first.manifest.read_bytes()
    if damage == "truncated":
        first.tarball.write_bytes(good[0][:-1])
    elif damage == "gone":
        first.tarball.unlink()
    elif damage == "manifest":
        first.manifest.write_bytes(good[1][: len(good[1]) // 2])
    else:
        first.manifest.write_bytes(good[1].replace(b'"timeout":60', b'"timeout":61'))
    again = build_artifact(tmp_path, build)
    assert not again.unchanged
    assert (again.tarball.read_bytes(), again.manifest.read_bytes()) == good


@pytest.mark.parametrize("how", ["flipped", "gone", "all", "facts"])
def test_a_damaged_cached_layer_is_built_again(how: str, tmp_path: Path) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    first = build_artifact(tmp_path, build)
    good = first.tarball.read_bytes()
    first.tarball.unlink()
    blobs = sorted((tmp_path / "cache").rglob("*.bin"))
    assert len(blobs) == 4  # the skeleton too
    for blob in blobs if how == "all" else blobs[:2]:
        if how == "gone":
            blob.unlink()
        elif how == "facts":
            blob.with_suffix(".json").write_bytes(b"{}")
        else:
            content = bytearray(blob.read_bytes())
            content[len(content) // 2] ^= 1
            blob.write_bytes(content)
    assert build_artifact(tmp_path, build).tarball.read_bytes() == good
    (tmp_path / "out").rename(tmp_path / "old")
    assert build_artifact(tmp_path, build).tarball.read_bytes() == good


def test_a_layer_that_vanishes_while_it_is_assembled_is_damage(tmp_path: Path) -> None:
    request = request_for(make_wheel(tmp_path, "one", "1.0"))
    cache = LayerCache(tmp_path)
    build_layers([request], tmp_path, crew=LocalCrew(), done=lambda _: None)
    record = cache.get(request.key)
    assert record is not None
    part = Part(record=record, blob=tmp_path / "gone", wheel="one", wheel_sha256=request.wheel_sha256)
    with pytest.raises(DamagedLayer, match=r"the cached layer of one 1.0 is damaged"):
        assemble([part], FAST, tmp_path / "out" / "x.tar.zst")
    assert list((tmp_path / "out").iterdir()) == []
    whole = dataclasses.replace(part, blob=cache.blob(request.key))
    assembled = assemble([whole], FAST, tmp_path / "out" / "x.tar.zst")
    assert assembled.length == record.length + len(end_of_archive(FAST))


def test_a_layer_that_stays_damaged_is_an_error_and_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    build_artifact(tmp_path, build).tarball.unlink()
    real = LayerCache.blob

    def elsewhere(self: LayerCache, key: str) -> Path:
        return real(self, key).with_suffix(".json") if key == request_for(build.wheels[0].path).key else real(self, key)  # type: ignore[arg-type] # fmt: skip # noqa: E501

    monkeypatch.setattr(LayerCache, "get", lambda self, key, get=LayerCache.get: get_anyway(self, key, get))
    monkeypatch.setattr("builder.pipeline.LayerCache.blob", elsewhere)
    with pytest.raises((VerificationFailed, StoreUnavailable)):
        build_artifact(tmp_path, build)
    assert not list((tmp_path / "out").rglob("*.zst"))


def get_anyway(cache: LayerCache, key: str, get: object) -> object:
    """The facts, although the bytes are not theirs: a disk that lies."""
    found = get(cache, key)  # type: ignore[operator]
    if found is None:
        from builder.layers.cache import _from_json

        facts = cache._root / key[:2] / f"{key}.json"
        return _from_json(facts.read_bytes()) if facts.is_file() else None
    return found


def identity_of(root: Path, *wheels: Path, compression: Compression = FAST, **changes: object) -> str:
    build = service_build(*wheels, **changes)  # type: ignore[arg-type]
    return build_artifact(root, build, compression=compression).artifact.identity


def test_the_identity_follows_every_input_and_nothing_else(tmp_path: Path) -> None:
    wheels = some_wheels(tmp_path / "w")
    base = identity_of(tmp_path / "a", *wheels)
    changed = {
        "wheel": identity_of(
            tmp_path, make_wheel(tmp_path / "v", "one", "1.0", {"one.py": b"x = 2\n"}), *wheels[1:]
        ),
        "fewer": identity_of(tmp_path, *wheels[1:]),
        "order": identity_of(tmp_path, *wheels[::-1]),
        "checks": identity_of(tmp_path, *wheels, checks=Checks(imports=("one",))),
        "timeout": identity_of(tmp_path, *wheels, checks=Checks(timeout=5)),
        "user": identity_of(tmp_path, *wheels, checks=Checks(user="nova")),
        "commands": identity_of(tmp_path, *wheels, checks=Checks(commands=(("one", "--version"),))),
        "mutable": identity_of(tmp_path, *wheels, mutable_paths=(MutablePath(path="etc"),)),
        "policy": identity_of(tmp_path, *wheels, mutable_paths=(MutablePath(path="etc", policy="new"),)),
        "packages": identity_of(tmp_path, *wheels, system_packages=("python3-libvirt",)),
        "overlap": identity_of(tmp_path, *wheels, allow_overlap=("etc/*",)),
        "level": identity_of(tmp_path, *wheels, compression=Compression("zstd", 2)),
        "kind": identity_of(tmp_path, *wheels, compression=Compression("gzip", 1)),
        "python": identity_of(tmp_path, *wheels, target=target_of("cp312")),
        "bytecode": identity_of(tmp_path, *wheels, interpreter=interpreter()),
        "service": identity_of(tmp_path, *wheels, name="other"),
        "barrier": identity_of(tmp_path, *wheels, rollback_barrier="the database was contracted"),
    }
    assert len({base, *changed.values()}) == len(changed) + 1
    renamed = wheels[0].with_name("one-1.0-py3-none-manylinux_2_34_x86_64.whl")  # promises a newer libc
    renamed.write_bytes(wheels[0].read_bytes())
    assert identity_of(tmp_path, renamed, *wheels[1:]) != base
    moved = [make_wheel(tmp_path / "moved", path.name.split("-")[0], "1.0") for path in wheels]
    for old, new in zip(wheels, moved, strict=True):
        new.write_bytes(old.read_bytes())
    assert identity_of(tmp_path / "b", *moved) == base
    assert identity_of(tmp_path / "c", *wheels, requirements=("other",), package="one") == base


def test_overlaps_are_recorded_and_the_last_layer_wins(tmp_path: Path) -> None:
    same = {"shared/same.txt": b"same", "shared/differs.txt": b"first"}
    wheels = [
        make_wheel(tmp_path, "first", "1.0", same),
        make_wheel(tmp_path, "second", "1.0", {**same, "shared/differs.txt": b"second"}),
    ]
    with pytest.raises(Refused, match=r"first 1.0 and second 1.0 both own .*/shared/differs.txt"):
        build_artifact(tmp_path, service_build(*wheels))
    assert not (tmp_path / "out").exists()
    built = build_artifact(tmp_path, service_build(*wheels, allow_overlap=("*/shared/differs.txt",)))
    expected = [f"{SITE}/shared/differs.txt", f"{SITE}/shared/same.txt"]
    assert built.artifact.overlaps == tuple(Overlap(path=path, layers=(1, 2)) for path in expected)
    (tmp_path / "v").mkdir()
    subprocess.run(["tar", "--zstd", "-xf", built.tarball, "-C", tmp_path / "v"], check=True)
    assert (tmp_path / "v" / expected[0]).read_bytes() == b"second"


def large_wheels(folder: Path, count: int = 4) -> list[Path]:
    """Together beyond what is built without worker processes."""
    return [
        make_wheel(folder, f"large{index}", "1.0", {f"large{index}.bin": os.urandom(1_200_000)})
        for index in range(count)
    ]


def test_worker_processes_build_the_same_bytes(tmp_path: Path) -> None:
    build = service_build(*large_wheels(tmp_path / "w"), interpreter=interpreter())
    alone = build_artifact(tmp_path / "alone", build, jobs=1)
    together = build_artifact(tmp_path / "together", build, jobs=2)
    assert together.tarball.read_bytes() == alone.tarball.read_bytes()
    assert together.manifest.read_bytes() == alone.manifest.read_bytes()


def test_any_executor_will_do(tmp_path: Path) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    with ThreadPoolExecutor(2) as threads:
        builder = ArtifactBuilder(
            cache_root=tmp_path / "cache",
            output=tmp_path / "out",
            compression=FAST,
            crew=LocalCrew(executor=threads),
        )
        built = builder.build([build], Silent())[0]
    assert built.tarball.read_bytes() == build_artifact(tmp_path / "b", build).tarball.read_bytes()


def test_a_killed_worker_is_one_clear_error_and_a_rerun_works(tmp_path: Path) -> None:
    build = service_build(*large_wheels(tmp_path / "w", 6))
    killed: list[int] = []

    others = set(children())

    class Killer(Silent):
        def layers(self, done: int, total: int, name: str) -> None:
            for child in set(children()) - others:
                killed.append(child)
                os.kill(child, signal.SIGKILL)

    builder = ArtifactBuilder(cache_root=tmp_path / "c", output=tmp_path / "out", compression=FAST, jobs=2)
    with pytest.raises(HostUnsuitable, match="a worker process died while it built layers"):
        builder.build([build], Killer())
    assert killed
    assert not (tmp_path / "out").exists()
    watched = Silent()
    assert not builder.build([build], watched)[0].unchanged
    assert 0 < len(watched.built) < 6  # what was built before was kept
    assert {path.split(".")[-1] for path in everything(tmp_path / "out")} == {"zst", "json"}


def children() -> list[int]:
    """Workers of this process; a compile server, which shows its source as an argument, is none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid() and "compile_one" not in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_the_first_bad_wheel_ends_the_work_and_the_rest_is_kept(tmp_path: Path) -> None:
    wheels = large_wheels(tmp_path / "w", 4)
    build = service_build(*wheels)
    wheels[3].write_bytes(b"damaged since it was checked")
    for jobs in (1, 2):
        with pytest.raises(VerificationFailed, match=r"large3-1.0-py3-none-any.whl: sha256 is"):
            build_artifact(tmp_path, build, jobs=jobs)
    assert not (tmp_path / "out").exists()
    assert not [path for path in everything(tmp_path / "cache") if "/tmp/" in path]


def test_two_builds_at_once_share_the_cache(tmp_path: Path) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))
    barrier = threading.Barrier(2)

    def run(output: str) -> bytes:
        builder = ArtifactBuilder(cache_root=tmp_path / "cache", output=tmp_path / output, compression=FAST)
        barrier.wait()
        return builder.build([build], Silent())[0].tarball.read_bytes()

    for number in range(3):
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(run, [f"out{number}a", f"out{number}b"])
        assert first == second
        for path in (tmp_path / "cache").rglob("*.json"):
            path.unlink()
    assert not [path for path in everything(tmp_path) if path.endswith(".tmp") or "/tmp/" in path]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_leaves_no_temporary_files(jobs: int, tmp_path: Path) -> None:
    build = service_build(*large_wheels(tmp_path / "w"))
    others = set(children())  # what other tests of this process started

    class Interrupt(Silent):
        def layers(self, done: int, total: int, name: str) -> None:
            if done == 2:
                raise KeyboardInterrupt

    builder = ArtifactBuilder(
        cache_root=tmp_path / "cache", output=tmp_path / "out", compression=FAST, jobs=jobs
    )
    with pytest.raises(KeyboardInterrupt):
        builder.build([build], Interrupt())
    assert all(
        path.endswith((".bin", ".json")) and "/tmp/" not in path for path in everything(tmp_path / "cache")
    )
    deadline = time.monotonic() + 5
    while set(children()) - others and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(children()) <= others
    assert not (tmp_path / "out").exists()


def test_an_interrupt_while_the_tarball_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = service_build(*some_wheels(tmp_path / "w"))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("builder.assemble.write_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_artifact(tmp_path, build)
    assert everything(tmp_path / "out") == set()
    assert not build_artifact(tmp_path, build).unchanged


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_is_one_clear_error(jobs: int, small_disk: Path, tmp_path: Path) -> None:
    build = service_build(*large_wheels(tmp_path / "w"))
    builder = ArtifactBuilder(cache_root=small_disk, output=tmp_path / "out", compression=FAST, jobs=jobs)
    with pytest.raises(
        StoreUnavailable, match=r"cannot write to the layer cache .*: No space left on device"
    ):
        builder.build([build], Silent())
    assert not [path for path in everything(small_disk) if "/tmp/" in path]
    builder = ArtifactBuilder(cache_root=tmp_path / "cache", output=small_disk, compression=FAST)
    with pytest.raises(StoreUnavailable, match=r"cannot write .*\.tar\.zst: No space left on device"):
        builder.build([build], Silent())
    assert everything(small_disk) == set()


def test_layers_that_services_share_are_built_once(tmp_path: Path) -> None:
    wheels = some_wheels(tmp_path / "w")
    builds = [service_build(*wheels[:2], name="alpha"), service_build(*wheels[1:], name="beta")]
    watched = Silent()
    builder = ArtifactBuilder(cache_root=tmp_path / "cache", output=tmp_path / "out", compression=FAST)
    first, second = builder.build(builds, watched)
    assert sorted(watched.built) == ["one", "three", "two"]
    assert (first.artifact.service, second.artifact.service) == ("alpha", "beta")
    shared = [layer for layer in first.artifact.layers if layer.distribution == "two"]
    assert shared[0].sha256 in {layer.sha256 for layer in second.artifact.layers}


def test_entry_points_that_lead_nowhere_are_noted_not_checked(tmp_path: Path) -> None:
    files = {"demo.py": b"", "pkg/__init__.py": b"", "ext.abi3.so": b"", "space/part.py": b""}
    points = {
        name: f"{name.replace('_', '.')}:main" for name in ("demo", "pkg", "ext", "space_part", "gone_away")
    }
    wheel = make_wheel(tmp_path, "demo", "1.0", files, entry_points=points)
    built = build_artifact(tmp_path, service_build(wheel))
    assert [point.name for point in built.artifact.entry_points] == ["demo", "ext", "pkg", "space_part"]
    assert built.notes == ("demo 1.0: bin/gone_away needs gone.away, which no locked wheel holds",)


def test_requests_are_sorted_so_that_large_wheels_start_first(tmp_path: Path) -> None:
    wheels = [make_wheel(tmp_path, f"w{size}", "1.0", {"x": os.urandom(size)}) for size in (10, 9000, 500)]
    order: list[str] = []

    class Recording(ThreadPoolExecutor):
        def submit(self, fn: Any, *arguments: Any, **named: Any) -> Future[Any]:
            order.append(arguments[1].distribution)
            return super().submit(fn, *arguments, **named)

    with Recording(1) as executor:
        crew = LocalCrew(executor=executor)
        build_layers([request_for(w) for w in wheels], tmp_path, crew=crew, done=lambda _: None)
    assert order == ["w9000", "w500", "w10"]
