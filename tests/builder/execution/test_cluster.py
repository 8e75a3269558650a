"""Builds on a real Dask cluster over TLS: the same bytes as here, and errors that say what to do."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from manifests.artifact import Artifact
from tests.builder.test_build_command import TARGET, Site
from tests.cluster import ROOT, Cluster, free_port, make_certificates
from tests.sdist_factory import locked_sdist, make_sdist, project_files
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'"
)

SOON = 15  # seconds; Dask alone would hang up for twenty


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    work = tmp_path_factory.mktemp("cluster")
    with Cluster(work, cache=work / "cache") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def same_artifacts(site: Site) -> None:
    one, other = site.root / "here/artifacts", site.root / "there/artifacts"
    assert site.files("there/artifacts") == site.files("here/artifacts") != []
    for name in site.files("here/artifacts"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_build_on_a_cluster_is_the_same_to_the_bit(site: Site, cluster: Cluster) -> None:
    here = site.run("-o", "here")
    assert here.returncode == 0, here.stderr
    there = site.run("-o", "there", "--cache", str(cluster.cache), *cluster.options)
    assert there.returncode == 0, there.stderr
    same_artifacts(site)
    layers = sorted(path.name for path in (cluster.cache / "layers").glob("*/*.bin"))
    assert layers == sorted(path.name for path in (site.root / "cache/layers").glob("*/*.bin"))


def test_an_sdist_that_a_worker_builds_gives_the_same_artifact_to_the_bit(
    site: Site, cluster: Cluster
) -> None:
    """Its backend writes wheels in random order, with random dates and modes, at whatever path it has."""
    spec: dict[str, object] = {"files": {"demo/__init__.py": "x = 1\n", "demo/run.sh": "#!/bin/sh\n"}}
    files = {"demo.c": b"const char *where(void) { return __FILE__; }\n"}
    if shutil.which("gcc") is not None:
        python, _, _ = TARGET.partition("-")
        spec |= {"compile": {"demo/_c.so": "demo.c"}, "tag": f"{python}-{python}-linux_{platform.machine()}"}
    package = make_sdist(site.wheels, project_files(spec) | files)
    site.lock(site.sample, site.helper, more=locked_sdist(package))
    here = site.run("-o", "here")
    assert here.returncode == 0, here.stderr
    there = site.run("-o", "there", "--cache", str(cluster.cache), *cluster.options)
    assert there.returncode == 0, there.stderr
    same_artifacts(site)
    (ours,) = (site.root / "cache/wheels").rglob("demo-1.0-*.whl")
    (theirs,) = (cluster.cache / "wheels").rglob("demo-1.0-*.whl")
    assert theirs.read_bytes() == ours.read_bytes()
    (manifest,) = (site.root / "there/artifacts").rglob("*.json")
    assert "demo" in {layer.distribution for layer in Artifact.from_json(manifest.read_bytes()).layers}


def test_an_sdist_that_fails_on_a_worker_says_why(site: Site, cluster: Cluster) -> None:
    package = make_sdist(site.wheels, project_files({"fail": True, "files": {"demo.py": "x = 2\n"}}))
    site.lock(site.sample, site.helper, more=locked_sdist(package))
    done = site.run("--cache", str(cluster.cache), *cluster.options)
    assert done.returncode == 4, done.stderr
    assert "building demo 1.0 from source failed" in done.stderr
    assert "no such header: demo.h" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_worker_says_is_what_the_operator_reads(site: Site, cluster: Cluster) -> None:
    broken = make_wheel(site.wheels, "broken", "1.0", {"broken.py": b"x = 1\n"}, wheel_metadata=b"nonsense")
    site.lock(broken)
    done = site.run("--cache", str(cluster.cache), *cluster.options)
    assert done.returncode == 3, done.stderr
    assert "broken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_with_another_cache_says_how_to_share(site: Site, cluster: Cluster) -> None:
    done = site.run(*cluster.options)
    assert done.returncode == 7
    assert f"has another cache ({cluster.cache}) than the build; let both share one folder" in done.stderr
    assert "--share s3://bucket/prefix" in done.stderr


def test_a_target_that_nobody_builds_for_is_named(site: Site, cluster: Cluster) -> None:
    other = "cp38-linux_x86_64-glibc2.17"
    lock = site.root / f"locks/pylock.sample-{TARGET.replace('.', '_')}.toml"
    lock.with_name(f"pylock.sample-{other.replace('.', '_')}.toml").write_bytes(lock.read_bytes())
    done = site.run("-t", other, "--cache", str(cluster.cache), *cluster.options)
    assert done.returncode == 4
    assert f"no worker at {cluster.url} builds for {other}; they offer cp3" in done.stderr


def test_whoever_has_no_certificate_of_the_cluster_gets_nothing(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    foreign = make_certificates(tmp_path / "foreign")
    options = [f"--cluster-ca={cluster.certificates}/ca.pem"]
    options += [f"--cluster-cert={foreign}/node.pem", f"--cluster-key={foreign}/node.key"]
    done = site.run("--cluster", cluster.url, *options, timeout=120)
    assert done.returncode == 7
    assert f"the cluster's scheduler at {cluster.url} cannot be reached" in done.stderr
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=5) as plain:
        plain.settimeout(5)
        plain.sendall(b"\0" * 64)
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(64).strip(b"\0")[:1] in (b"", b"\x15")  # hung up, perhaps with a TLS alert


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--cluster", "tcp://10.0.0.5:8786"], 9, "plain tcp is for this machine alone"),
        (["--cluster", "tls://scheduler:8786"], 2, "TLS needs a certificate on both sides"),
        (["--share", "s3://bucket/prefix"], 2, "--share is for clusters"),
        (["--cluster", "tcp://127.0.0.1:1", "--jobs", "2"], 2, "--jobs is for builds on this machine"),
    ],
)
def test_options_that_do_not_fit_are_refused(site: Site, options: list[str], code: int, said: str) -> None:
    site.fails(code, said, arguments=options)


@pytest.mark.slow  # Dask tries for ten seconds
def test_a_scheduler_that_is_not_there_is_said(site: Site) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    site.fails(7, f"the cluster's scheduler at {url} cannot be reached", arguments=["--cluster", url])


def test_an_interrupt_ends_a_build_whose_scheduler_does_not_answer(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        build = site.begin("--cluster", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            build.send_signal(signal.SIGINT)
            _, said = build.communicate(timeout=SOON)
    assert build.returncode == 130
    assert said.strip() == "venvoy: interrupted; nothing was left half-done, the same command goes on"


def test_a_worker_says_what_it_would_offer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "venvoy", "worker", "tcp://127.0.0.1:1", "--offers"]
    done = subprocess.run(
        [*command, "--python", sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{TARGET}@{'.'.join(map(str, sys.version_info[:3]))}\n"
    refused = subprocess.run(
        [sys.executable, "-m", "venvoy", "worker", "tcp://10.0.0.5:8786"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 9
    assert "plain tcp is for this machine alone" in refused.stderr
