"""``venvoy builds``: a service's builds, seen and steered from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.remote.naming import locate_build
from manifests.documents import sha256_file
from manifests.errors import InvalidInput
from tests.service_site import ServiceSite, written
from tests.small_site import PROJECT, run, venvoy

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "0123456789abcdef" * 2
ALL = ("read", "build", "publish")
# Whoever runs tests in the background may have had interrupts ignored.
HEEDING = "import signal, venvoy; signal.signal(2, signal.default_int_handler); venvoy.main()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSite]:
    site = ServiceSite(tmp_path_factory.mktemp("service"))
    with site.running():
        yield site


def builds(site: ServiceSite, *words: str | Path, scopes: tuple[str, ...] = ALL) -> Any:
    return venvoy("builds", *words, env={"VENVOY_REMOTE": site.url, "VENVOY_TOKEN": site.token(*scopes)})


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Interrupt a command when its build is at work; return what it said."""
    assert process.stderr is not None
    while "building release" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)
    assert process.returncode == 130
    return said


def test_builds_are_listed_and_shown(site: ServiceSite) -> None:
    first = site.wait(site.submit(site.request("1.0.0", ("demo", "other")), publish=True)["id"])
    second = site.wait(site.submit(site.request("1.0.1"))["id"])
    done = builds(site, "list")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [second["id"], first["id"]]
    assert rows[1][2:] == ["1.0.0", "published", "demo,", "other"]
    chosen = builds(site, "list", "--state", "published", "--release", "1.0.0", "--json")
    assert [build["id"] for build in json.loads(chosen.stdout)["builds"]] == [first["id"]]
    assert len(builds(site, "list", "--limit", "1").stdout.splitlines()) == 1
    shown = builds(site, "show", first["id"])
    assert shown.returncode == 0, shown.stderr
    assert first["artifacts"][0]["tarball"] in shown.stdout
    address = f"{site.url}/builds/{first['id']}"
    assert json.loads(builds(site, "show", address, "--json").stdout) == site.build(first["id"])
    assert builds(site, "show", ID).returncode == 5


def test_a_build_is_cancelled_and_retried_and_watched_to_its_end(site: ServiceSite, tmp_path: Path) -> None:
    build = site.submit(site.request("2.0.0"))["id"]
    worker = site.frozen_worker()
    done = builds(site, "cancel", build)
    assert (done.returncode, done.stdout) == (0, f"{build}: release 2.0.0 ends within seconds\n"), done.stderr
    with contextlib.suppress(ProcessLookupError):  # killed already, since it did not heed the interrupt
        os.kill(worker, signal.SIGCONT)
    assert site.wait(build)["state"] == "cancelled"
    watched = builds(site, "watch", build)
    assert watched.returncode == 9
    assert f"{site.url}/builds/{build} was cancelled" in watched.stderr
    assert builds(site, "cancel", build).returncode == 9
    assert builds(site, "retry", build).stdout == f"{build}: release 2.0.0 is built again\n"
    watched = builds(site, "watch", build, "-o", tmp_path / "build", "--json")
    assert watched.returncode == 0, watched.stderr
    (artifact,) = json.loads(watched.stdout)["artifacts"]
    assert sha256_file(Path(artifact["tarball"])) == artifact["sha256"]
    assert Path(artifact["tarball"]).is_relative_to(tmp_path / "build")


def test_a_build_that_failed_is_watched_to_its_exit_code_and_mended_by_a_retry(site: ServiceSite) -> None:
    body = site.request("2.1.0")
    (wheel,) = site.wheels.glob("demo-2.1.0*")
    hidden = wheel.rename(site.directory / wheel.name)
    build = site.submit(body)["id"]
    watched = builds(site, "watch", build)
    assert watched.returncode == 5
    assert f"{wheel.name} cannot be had" in watched.stderr
    assert f"error (exit code 5): {wheel.name}" in builds(site, "show", build).stdout
    hidden.rename(wheel)
    assert json.loads(builds(site, "retry", build, "--json").stdout)["state"] == "queued"
    watched = builds(site, "watch", build)
    assert watched.returncode == 0, watched.stderr
    assert "building release 2.1.0" in watched.stderr
    assert watched.stdout.startswith("built artifacts/demo/demo-2.1.0-")


def test_what_an_interrupted_remote_build_says_brings_it_back(site: ServiceSite, tmp_path: Path) -> None:
    token = tmp_path / "my token"
    token.write_text(site.token("read", "build"))
    token.chmod(0o600)
    spec = written(tmp_path, site.request("2.2.0"))
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", HEEDING, "build", str(spec)),
            *("--remote", site.url, "--token-file", str(token)),
        ],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = site.frozen_worker()
    _, said = interrupted(process)
    os.kill(worker, signal.SIGCONT)
    hint = re.search(r"so does: venvoy (builds watch .+)", said)
    assert hint is not None, said
    done = run([sys.executable, "-m", "venvoy", *shlex.split(hint[1]), "-o", str(tmp_path / "build")])
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "build/artifacts/demo").glob("demo-2.2.0-*.tar.zst"))


def test_an_interrupt_leaves_what_is_watched_running(site: ServiceSite) -> None:
    build = site.submit(site.request("2.3.0"))["id"]
    worker = site.frozen_worker()
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDING, "builds", "watch", f"{site.url}/builds/{build}", "--json"],
        cwd=PROJECT,
        env={**os.environ, "VENVOY_TOKEN": site.token("read"), "VENVOY_PROGRESS": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, _ = interrupted(process)
    assert json.loads(said)["build"] == build
    os.kill(worker, signal.SIGCONT)
    assert site.wait(build)["state"] == "built"


def test_what_managers_signed_is_forwarded(site: ServiceSite, tmp_path: Path) -> None:
    build = site.wait(site.submit(site.request("3.0.0"), publish=True)["id"])
    managers = tmp_path / "managers"
    managers.mkdir(mode=0o700)
    for name in ("releases.pem", "root.json"):
        shutil.copy2(site.site.keys / name, managers / name)
    file = tmp_path / "pins.json"
    stem = Path(build["artifacts"][0]["manifest"]).stem
    signed = venvoy(
        *("pin", "3.0.0", stem, "--store", site.site.store, "--keys", managers, "--propose", file)
    )
    assert signed.returncode == 0, signed.stderr
    refused = builds(site, "forward", file, scopes=("read", "build"))
    assert refused.returncode == 9
    assert "has not the scope publish" in refused.stderr
    done = builds(site, "forward", file)
    assert (done.returncode, done.stdout) == (0, "forwarded pins/3.0.0.json\n"), done.stderr
    (release,) = site.call("GET", "/api/v1/releases").json()["releases"]
    assert release["release"] == "3.0.0"
    again = builds(site, "forward", file)
    assert (again.returncode, again.stdout) == (0, "forwarded nothing: hosts see this already\n")
    body = json.loads(file.read_text())
    body["releases"] = body["releases"][:-4] + "AAAA"
    file.write_text(json.dumps(body))
    assert builds(site, "forward", file).returncode != 0
    file.write_text('{"format": "1.0"}')
    bad = builds(site, "forward", file)
    assert bad.returncode == 2
    assert str(file) in bad.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "x"), 2, "'x' is no build; one looks like"),
        (("watch", f"https://builds.example/builds/{ID}"), 2, "is not a build of http://127.0.0.1:"),
        (("forward", "/nonexistent"), 5, "cannot read /nonexistent"),
        (("list", "--token-file", "/nonexistent"), 5, "cannot read the token in /nonexistent"),
    ],
)
def test_what_cannot_be_is_said(site: ServiceSite, words: tuple[str, ...], code: int, said: str) -> None:
    done = builds(site, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_that_may_only_look_steers_nothing(site: ServiceSite) -> None:
    build = site.wait(site.submit(site.request("4.0.0"))["id"])["id"]
    for word in ("cancel", "retry"):
        done = builds(site, word, build, scopes=("read",))
        assert done.returncode == 9
        assert "token read has not the scope build" in done.stderr
        assert site.token("read") not in done.stderr


def test_builds_have_names_and_addresses() -> None:
    assert locate_build(ID, "https://b.example") == ("https://b.example", ID)
    for address in (f"https://b.example/x/builds/{ID}", f"https://b.example/x/api/v1/builds/{ID}/"):
        assert locate_build(address, None) == ("https://b.example/x", ID)
        assert locate_build(address, "https://b.example/x/") == ("https://b.example/x", ID)
    with pytest.raises(InvalidInput, match="name the build service with --remote"):
        locate_build(ID, None)
    for wrong in (ID[1:], f"file:///builds/{ID}", f"https://me:secret@b.example/builds/{ID}"):
        with pytest.raises(InvalidInput) as caught:
            locate_build(wrong, None)
        assert "secret" not in str(caught.value)
