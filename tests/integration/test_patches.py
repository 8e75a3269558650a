"""Patches between releases: made by a publisher, applied by hosts, and never believed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from distributor.layers.rebuilding import rebuild_layer
from manifests.artifact import Artifact, MutablePath
from manifests.documents import sha256_bytes
from manifests.layout import MANIFEST
from manifests.patches import PatchSet
from tests.small_site import SmallSite, purelib, run, snapshot, venvoy

BIG = random.Random(1).randbytes(400_000)
CHANGED = BIG[:200_000] + b"a few bytes changed" + BIG[200_000:]
ETC = [MutablePath(path="etc/demo")]


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    """1.0.0 is published and pinned; 2.0.0 is published with patches from it, and pinned."""
    made = SmallSite(tmp_path / "site")
    old, new = {"demo/big.bin": BIG}, {"demo/big.bin": CHANGED}
    made.release("1.0.0", files=old, etc={"demo.conf": b"one\n"}, mutable=ETC)
    built = made.release("2.0.0", files=new, etc={"demo.conf": b"two\n"}, mutable=ETC, publish=False)
    done = venvoy(
        *("publish", built.manifest.parent.parent.parent, "--store", made.store, "--keys", made.keys),
        *("--patch-from", "1.0.0", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["patches"]) == patch_documents(made)
    made.pin("2.0.0", built)
    return made


def patch_documents(site: SmallSite) -> list[str]:
    return sorted(str(path.relative_to(site.store)) for path in (site.store / "patches").rglob("*.json.gz"))


def patch_file(site: SmallSite) -> Path:
    (only,) = (site.store / "patches").rglob("*.patches")
    return only


def upgraded(site: SmallSite, dest: Path, *options: str) -> dict[str, Any]:
    """Go from 1.0.0 to 2.0.0; whatever happened with patches, the tree is that of a fresh install."""
    result = site.install("2.0.0", dest, *options)
    assert venvoy("verify", dest).returncode == 0
    fresh = dest.with_name("fresh") / dest.name
    site.install("2.0.0", fresh, "--no-cache")
    assert files(dest) == files(fresh)
    return result


def files(venv: Path) -> dict[str, object]:
    return {
        path: facts
        for path, facts in snapshot(venv).items()
        if not path.endswith("receipt.json") and not path.startswith(("bin/activate.", "etc"))
    }


def test_an_upgrade_fetches_a_patch(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    assert 0 < upgraded(site, dest)["fetched_bytes"] < 10_000


def test_the_old_layer_is_rebuilt_where_the_cache_lacks_it(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    (dest / "etc/demo/demo.conf").write_text("the host's\n")  # pristine copies stand in for it
    shutil.rmtree(site.state / "cache")
    assert 0 < upgraded(site, dest)["fetched_bytes"] < 10_000
    assert (dest / "etc/demo/demo.conf").read_text() == "the host's\n"


def test_a_venv_beside_serves_as_well(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "venvs/demo-1")
    shutil.rmtree(site.state / "cache")
    assert 0 < upgraded(site, tmp_path / "venvs/demo-2")["fetched_bytes"] < 10_000


def test_a_tree_that_was_touched_is_no_base(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    shutil.rmtree(site.state / "cache")
    with (purelib(dest) / "demo/big.bin").open("r+b") as stream:
        stream.write(b"x")
    assert upgraded(site, dest)["fetched_bytes"] > len(BIG)


def test_a_layer_that_came_by_a_patch_is_kept_and_used_again(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    site.install("2.0.0", dest)
    shutil.rmtree(dest)
    assert site.install("2.0.0", tmp_path / "elsewhere/demo")["fetched_bytes"] == 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "foreign"])
def test_a_bad_patch_costs_bytes_and_nothing_else(site: SmallSite, tmp_path: Path, damage: str) -> None:
    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    path = patch_file(site)
    data = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "foreign":
        path.write_bytes(os.urandom(len(data)))
    assert upgraded(site, dest)["fetched_bytes"] > len(BIG)


def test_signed_patches_that_give_other_bytes_are_not_used(site: SmallSite, tmp_path: Path) -> None:
    """Builders sign patches, and may be anybody: the manifest's digest decides, which managers pinned."""
    import zstandard

    from distributor.layers.patching import apply_patch
    from manifests.errors import VerificationFailed

    dest = tmp_path / "venvs/demo"
    site.install("1.0.0", dest)
    artifact = Artifact.from_json((dest / MANIFEST).read_bytes())
    layer = next(layer for layer in artifact.layers if layer.distribution == "demo")
    evil = zstandard.ZstdCompressor().compress(bytes(layer.tar_length))
    bomb = zstandard.ZstdCompressor().compress(bytes(layer.tar_length * 50))
    for patch in (evil, bomb, b"", evil[:-3], b"no zstd at all"):
        with pytest.raises(VerificationFailed):
            apply_patch(patch, b"base", layer, tmp_path)


def test_publishing_again_makes_nothing_new(site: SmallSite) -> None:
    before = sorted(path for path in site.store.rglob("*") if "metadata" not in path.parts)
    build = site.directory / "build/2.0.0"
    options = ("--store", site.store, "--keys", site.keys, "--patch-from", "1.0.0", "--json")
    done = venvoy("publish", build, *options)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["published"], document["patches"]) == ([], {})
    assert sorted(path for path in site.store.rglob("*") if "metadata" not in path.parts) == before


def test_patches_from_an_unknown_release_are_an_error(site: SmallSite) -> None:
    build = site.directory / "build/2.0.0"
    done = venvoy("publish", build, "--store", site.store, "--keys", site.keys, "--patch-from", "0.9")
    assert done.returncode == 5
    assert "release 0.9 is not signed" in done.stderr


def test_every_layer_of_an_installed_venv_can_be_rebuilt(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    artifact = Artifact.from_json((dest / MANIFEST).read_bytes())
    rebuilt = [rebuild_layer(dest, artifact, layer) for layer in artifact.layers]
    assert [data is not None for data in rebuilt] == [True] * len(artifact.layers)
    (purelib(dest) / "demo/__init__.py").unlink()
    (purelib(dest) / "demo/__init__.py").symlink_to("/etc/passwd")
    demo = next(layer for layer in artifact.layers if layer.distribution == "demo")
    assert rebuild_layer(dest, artifact, demo) is None


def test_a_patch_set_is_read_as_it_was_written(site: SmallSite) -> None:
    import gzip

    (document,) = (site.store / "patches").rglob("*.json.gz")
    plain = gzip.decompress(document.read_bytes())
    found = PatchSet.from_json(plain, what="test")
    assert found.to_json() == plain
    assert str(document.relative_to(site.store)) == found.document_path
    assert (site.store / found.file_path).stat().st_size == found.length


APPLY = """
import hashlib, resource, sys
from pathlib import Path
from types import SimpleNamespace
from distributor.layers.patching import apply_patch

folder, length, digest = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layer = SimpleNamespace(tar_length=length, tar_sha256=digest)
apply_patch((folder / "patch").read_bytes(), (folder / "base").read_bytes(), layer, folder)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_applying_takes_no_more_memory_than_was_reckoned(tmp_path: Path) -> None:
    """What is published fits: with two implementations of zstd, and a window as large as both files."""
    from distributor.publishing.patch_making import _compress, _prefix_zstd
    from manifests.patches import MEMORY_LIMIT, needed_memory

    base = random.Random(2).randbytes(85 * 1024**2)
    target = base[: len(base) // 2] + b"x" * 100 + base[len(base) // 2 : -100]
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "patch").write_bytes(_compress(_prefix_zstd(), base, target, 9))
    assert needed_memory(len(base), len(target)) <= MEMORY_LIMIT
    arguments = [str(tmp_path), str(len(target)), sha256_bytes(target)]
    done = run([sys.executable, "-c", APPLY, *arguments])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MEMORY_LIMIT * 1.05
