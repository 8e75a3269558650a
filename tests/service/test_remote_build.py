"""``venvoy build --remote``: a service builds, and the command line behaves as if it were here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from builder.remote.following import events
from manifests.artifact import Artifact
from manifests.documents import sha256_file
from tests.service_site import ServiceSite, written
from tests.small_site import HOST, PROJECT, TARGET, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSite]:
    site = ServiceSite(tmp_path_factory.mktemp("service"))
    with site.running():
        yield site


def command(spec: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "venvoy", "build", str(spec), "-o", str(spec.parent / "build"), *options]


def remote(
    site: ServiceSite, spec: Path, *options: str, scopes: tuple[str, ...] = ("read", "build", "publish")
) -> Any:
    environment = {"VENVOY_TOKEN": site.token(*scopes)}
    return run(command(spec, "--remote", site.url, *options), env=environment)


def test_a_service_builds_what_is_built_here_to_the_bit(site: ServiceSite, tmp_path: Path) -> None:
    spec = written(tmp_path, site.request("1.0.0", ("demo", "other")))
    done = remote(site, spec, "--json", "--publish")
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["state"] == "published"
    here = run(
        [
            *command(spec, "--json", "-o", str(tmp_path / "here"), "--cache", str(tmp_path / "cache")),
            *("--offline", "--wheels", str(site.wheels), "--python", f"{TARGET}={HOST.executable}"),
        ]
    )
    assert here.returncode == 0, here.stderr
    for one, other in zip(there["artifacts"], json.loads(here.stdout)["artifacts"], strict=True):
        assert (
            sha256_file(tmp_path / one["tarball"])
            == one["sha256"]
            == sha256_file(tmp_path / other["tarball"])
        )
        assert (tmp_path / one["manifest"]).read_bytes() == (tmp_path / other["manifest"]).read_bytes()
        assert Artifact.from_json((tmp_path / one["manifest"]).read_bytes()).identity == one["identity"]


def test_what_happens_is_told_and_said_in_the_end(site: ServiceSite, tmp_path: Path) -> None:
    spec = written(tmp_path, site.request("1.1.0"))
    done = remote(site, spec, "--no-fetch")
    assert done.returncode == 0, done.stderr
    assert f"{site.url}/builds/" in done.stderr
    assert "building release 1.1.0" in done.stderr
    assert done.stdout.startswith("built artifacts/demo/demo-1.1.0-")
    assert not (tmp_path / "build").exists()


def test_a_failure_there_is_a_failure_here(site: ServiceSite, tmp_path: Path) -> None:
    body = site.request("1.2.0")
    (wheel,) = site.wheels.glob("demo-1.2.0*")
    wheel.unlink()
    done = remote(site, written(tmp_path, body), "--json")
    assert done.returncode == 5, done.stderr
    assert f"{wheel.name} cannot be had" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_the_build_running_and_the_same_command_comes_back(
    site: ServiceSite, tmp_path: Path
) -> None:
    spec = written(tmp_path, site.request("1.3.0"))
    # Whoever runs tests in the background may have had interrupts ignored.
    heeding = [
        sys.executable,
        "-c",
        "import signal, venvoy; signal.signal(2, signal.default_int_handler); venvoy.main()",
    ]
    process = subprocess.Popen(
        [*heeding, *command(spec, "--remote", site.url)[3:]],
        cwd=PROJECT,
        env={**os.environ, "VENVOY_TOKEN": site.token("read", "build")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = site.frozen_worker()
    assert process.stderr is not None
    while "building release" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"the build goes on at {site.url}/builds/" in said
    os.kill(worker, signal.SIGCONT)
    done = remote(site, spec)
    assert done.returncode == 0, done.stderr
    assert "which 1 asked for before" in done.stderr


@pytest.mark.slow
def test_a_service_that_is_restarted_is_waited_for(site: ServiceSite, tmp_path: Path) -> None:
    spec = written(tmp_path, site.request("1.4.0"))
    process = subprocess.Popen(
        command(spec, "--remote", site.url),
        cwd=PROJECT,
        env={**os.environ, "VENVOY_TOKEN": site.token("read", "build")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "building release" not in process.stderr.readline():
        assert process.poll() is None
    site.kill()
    site.start()
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "demo-1.4.0-" in said


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--jobs", "2"), 2, "--jobs is for builds on this machine"),
        (("--remote", "http://builds.example"), 9, "the token would travel in the clear"),
        (("--remote", "ftp://builds.example"), 2, "is not an http or https URL"),
        (("--token-file", "/nonexistent"), 5, "cannot read the token in /nonexistent"),
    ],
)
def test_what_does_not_go_together(
    site: ServiceSite, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    done = remote(site, written(tmp_path, site.request("1.0.0")), *options)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_options_of_remote_builds_need_a_service(tmp_path: Path, site: ServiceSite) -> None:
    done = run(command(written(tmp_path, site.request("1.0.0")), "--publish"))
    assert done.returncode == 2
    assert "--publish is for builds by a service; name it with --remote" in done.stderr


def test_a_token_that_may_not_is_said_clearly(site: ServiceSite, tmp_path: Path) -> None:
    spec = written(tmp_path, site.request("1.0.0"))
    done = remote(site, spec, scopes=("read",))
    assert done.returncode == 9
    assert "token read has not the scope build" in done.stderr
    assert site.token("read") not in done.stderr + done.stdout


def test_events_are_read_however_they_are_written() -> None:
    stream = b": hello\r\n\r\nevent: log\nid: 7\ndata: {}\n\ndata:x\n\nevent: cut\ndata: half"
    assert list(events(stream.splitlines())) == [("log", "7", "{}"), ("message", "", "x")]
