"""``venvoy reproduce``: what was built is built again, and what differs is named."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from manifests.artifact import Artifact
from manifests.release_spec import read_release_spec
from tests.builder.interpreters import executable
from tests.builder.test_build_command import ROOT, TARGET, Site
from tests.wheel_factory import make_wheel

EXAMPLES = [
    pytest.param(path, service.name, id=f"{path.parent.name}-{service.name}")
    for path in sorted((ROOT / "examples").rglob("release.toml"))
    for service in read_release_spec(path).services
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    done = site.run("--python", f"{TARGET}={executable()}")
    assert done.returncode == 0, done.stderr
    return site


def manifest_of(site: Site) -> Path:
    (path,) = (site.root / "build/artifacts/sample").glob("*.json")
    return path


def reproduce(site: Site, artifact: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "venvoy", "reproduce", str(artifact), "--offline"),
        *("--wheels", "wheels", "--cache", "another-cache", "--python", str(executable()), *words),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=site.root, env=environment, check=False, capture_output=True, text=True, **options
    )


def test_what_was_built_is_reproduced(site: Site) -> None:
    manifest = manifest_of(site)
    before = sorted(path for path in site.root.rglob("*") if "another-cache" not in str(path))
    done = reproduce(site, manifest, "--json")
    assert done.returncode == 0, done.stderr
    artifact = Artifact.from_json(manifest.read_bytes(), what="manifest")
    assert json.loads(done.stdout) == {
        "artifact": artifact.stem,
        "reproduced": True,
        "sha256": artifact.sha256,
        "notes": [],
    }
    assert not (site.root / "another-cache/layers").exists()
    after = sorted(path for path in site.root.rglob("*") if "another-cache" not in str(path))
    assert after == before


def test_a_stores_files_will_do(site: Site, tmp_path: Path) -> None:
    manifest = manifest_of(site)
    tarball = next(manifest.parent.glob("*.tar.zst"))
    (tmp_path / f"{manifest.name}.gz").write_bytes(gzip.compress(manifest.read_bytes()))
    shutil.copy(tarball, tmp_path)
    done = reproduce(site, tmp_path / tarball.name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reproduced sample-1.0-")


def test_another_level_of_compression_is_told_by_provenance_or_option(site: Site, tmp_path: Path) -> None:
    done = site.run("--python", f"{TARGET}={executable()}", "--level", "3", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    (manifest,) = (tmp_path / "out/artifacts/sample").glob("*.json")
    assert reproduce(site, manifest).returncode == 0
    shutil.rmtree(tmp_path / "out/provenance")
    failed = reproduce(site, manifest)
    assert failed.returncode == 3
    assert "packed otherwise" in failed.stderr
    assert reproduce(site, manifest, "--level", "3").returncode == 0


def test_the_layer_and_member_that_differ_are_named(site: Site, tmp_path: Path) -> None:
    """Somebody put other code into an artifact, and signed a manifest that fits it."""
    manifest = manifest_of(site)
    artifact = Artifact.from_json(manifest.read_bytes(), what="manifest")
    data = bytearray(next(manifest.parent.glob("*.tar.zst")).read_bytes())
    layer = next(layer for layer in artifact.layers if layer.distribution == "sample")
    plain = zstandard.ZstdDecompressor().decompress(bytes(data[layer.offset : layer.offset + layer.length]))
    evil = plain.replace(b"it runs", b"it EVIL")
    assert evil != plain
    packed = zstandard.ZstdCompressor(level=7, write_content_size=True).compress(evil)
    grown = len(packed) - layer.length
    layers = tuple(
        replace(item, length=len(packed))
        if item is layer
        else replace(item, offset=item.offset + grown * (item.offset > layer.offset))
        for item in artifact.layers
    )
    forged = replace(artifact, layers=layers, length=artifact.length + grown)
    data[layer.offset : layer.offset + layer.length] = packed
    (tmp_path / manifest.name).write_bytes(forged.to_json())
    (tmp_path / f"{artifact.stem}.tar.zst").write_bytes(data)
    done = reproduce(site, tmp_path / manifest.name)
    assert done.returncode == 3
    # The compiled file comes first, and has the words in it as well.
    assert re.search(
        r"layer sample 1\.0: member lib/\S+/sample\.\S+: its content differs from byte", done.stderr
    )


def test_damage_is_named_by_its_layer(site: Site, tmp_path: Path) -> None:
    manifest = manifest_of(site)
    artifact = Artifact.from_json(manifest.read_bytes(), what="manifest")
    data = bytearray(next(manifest.parent.glob("*.tar.zst")).read_bytes())
    layer = next(layer for layer in artifact.layers if layer.distribution == "helper")
    data[layer.offset] ^= 0xFF
    shutil.copy(manifest, tmp_path)
    (tmp_path / f"{artifact.stem}.tar.zst").write_bytes(data)
    done = reproduce(site, tmp_path / manifest.name)
    assert (done.returncode, "layer helper 2.0: its bytes are damaged" in done.stderr) == (3, True)


def test_other_inputs_are_named(site: Site, tmp_path: Path) -> None:
    manifest = manifest_of(site)
    other = Site(tmp_path / "other")
    other.spec((site.root / "release.toml").read_text().replace('imports = ["sample"]', "imports = []"))
    done = reproduce(other, manifest)
    assert done.returncode == 3
    assert "the manifests differ in checks" in done.stderr
    other.spec((site.root / "release.toml").read_text())
    changed = make_wheel(tmp_path / "other/wheels", "helper", "2.0", {"helper/__init__.py": b"x = 2\n"})
    other.lock(other.sample, changed)
    done = reproduce(other, manifest)
    assert "layer helper 2.0: made of another wheel" in done.stderr
    done = reproduce(site, tmp_path / "nothing.json")
    assert (done.returncode, "there is no manifest" in done.stderr) == (5, True)


def as_nobody() -> list[str]:
    """Return what starts a command as another user, who may read what root may: this Python may be root's."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    ability = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *ability]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="venvoy-reproduce-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="building as another user takes root")
@pytest.mark.parametrize(("example", "service"), EXAMPLES)
def test_every_example_is_reproduced_on_another_path_by_another_user_with_another_umask(
    example: Path, service: str, open_folder: Path
) -> None:
    cache = Path(os.environ.get("VENVOY_CACHE") or Path.home() / ".cache/venvoy")
    folder = open_folder / "built here"
    build = [sys.executable, "-m", "venvoy", "build", str(example), "-s", service, "-o", str(folder / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*build, "--cache", str(cache)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 7:
        pytest.skip(f"the package index cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    (manifest,) = (folder / "out/artifacts" / service).glob("*.json")
    # The wheels go to a cache of another user's, on another path; layers do not.
    other = open_folder / "another place, with a longer path"
    other.mkdir()
    for part in ("wheels", "built", "sdists"):
        if (cache / part).is_dir():
            shutil.copytree(cache / part, other / "cache" / part)
    for path in (other, *other.rglob("*")):
        os.chown(path, 65534, 65534)
    command = [
        *as_nobody(),
        *(sys.executable, "-m", "venvoy", "reproduce", str(manifest), str(example)),
        *("--offline", "--cache", str(other / "cache"), "--jobs", "2"),
    ]
    done = subprocess.run(
        command,
        env={**environment, "HOME": str(other), "TMPDIR": str(other)},
        umask=0o077,
        cwd=other,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"reproduced {manifest.stem}" in done.stdout
