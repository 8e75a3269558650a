"""Installs over real HTTP: from serve-store, through mirrors that are dead, stale or lying, many at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_site import PROJECT, SmallSite, run, venvoy


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    made = SmallSite(tmp_path / "site")
    made.release("1.0.0", files={"demo/big.bin": os.urandom(300_000)})
    return made


@contextlib.contextmanager
def served(store: Path) -> Iterator[tuple[str, int]]:
    """Serve *store* by the command line; give its URL and the server's process id."""
    command = [sys.executable, "-m", "venvoy", "serve-store", str(store), "--listen", "127.0.0.1:0", "--json"]
    process = subprocess.Popen([*command, "--quiet"], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        yield json.loads(text)["url"].rstrip("/"), process.pid
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()  # type: ignore[union-attr]


def install_from(site: SmallSite, dest: Path, *stores: str, release: str = "1.0.0") -> list[str]:
    options = [word for store in stores for word in ("--store", store)]
    return [
        *(sys.executable, "-m", "venvoy", "install", "demo", "--release", release, "--dest", str(dest)),
        *(*options, "--root", str(site.root), "--state", str(dest.parent / "state"), "--json"),
    ]


def test_a_store_that_is_served_installs(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "host/demo"
    with served(site.store) as (url, _):
        done = run(install_from(site, dest, url))
        assert done.returncode == 0, done.stderr
        listed = venvoy("releases", "--store", url, "--root", site.root, "--state", tmp_path / "other")
        assert "1.0.0: demo 1.0.0" in listed.stdout
    assert venvoy("verify", dest).returncode == 0
    assert json.loads(run(install_from(site, dest, url)).stdout)["changed"] is False  # the server is gone


def test_a_served_store_cannot_be_published_to(site: SmallSite) -> None:
    with served(site.store) as (url, _):
        done = venvoy("publish", site.directory / "build/1.0.0", "--store", url, "--keys", site.keys)
    assert done.returncode == 9
    assert "read-only" in done.stderr


def test_a_lying_mirror_is_passed_over(site: SmallSite, tmp_path: Path) -> None:
    liar = tmp_path / "liar"
    shutil.copytree(site.store, liar)
    for tarball in (liar / "artifacts").rglob("*.tar.zst"):
        tarball.write_bytes(os.urandom(tarball.stat().st_size))
    dest = tmp_path / "host/demo"
    with served(liar) as (bad, _), served(site.store) as (good, _):
        done = run(install_from(site, dest, bad, good))
        assert done.returncode == 0, done.stderr
        (note,) = json.loads(done.stdout)["notes"]
        assert bad in note
        alone = run(install_from(site, tmp_path / "alone/demo", bad))
    assert alone.returncode == 3
    assert not (tmp_path / "alone/demo").exists()
    assert venvoy("verify", dest).returncode == 0


def test_a_stale_mirror_is_passed_over(site: SmallSite, tmp_path: Path) -> None:
    stale = tmp_path / "stale"
    shutil.copytree(site.store, stale)
    site.release("2.0.0")
    dest = tmp_path / "host/demo"
    with served(stale) as (old, _), served(site.store) as (new, _):
        done = run(install_from(site, dest, old, new, release="2.0.0"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == "2.0.0"


def test_a_dead_mirror_is_passed_over(
    site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENVOY_HTTP_TIMEOUT", "1")
    with served(site.store) as (dead, _):
        pass
    with served(site.store) as (good, _):
        done = run(install_from(site, tmp_path / "host/demo", dead, good))
    assert done.returncode == 0, done.stderr
    assert dead in json.loads(done.stdout)["notes"][0]


def test_the_rate_is_limited(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "host/demo"
    with served(site.store) as (url, _):
        started = time.monotonic()
        done = run([*install_from(site, dest, url), "--limit-rate", "100K"])
        seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert seconds > 2.5  # 300 kB, but for what a quarter of a second allows at once
    assert venvoy("verify", dest).returncode == 0


@pytest.mark.parametrize("hosts", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_many_hosts_install_at_once(site: SmallSite, tmp_path: Path, hosts: int) -> None:
    with served(site.store) as (url, pid):
        processes = [
            subprocess.Popen(
                install_from(site, tmp_path / f"host{number}/demo", url),
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(hosts)
        ]
        errors = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * hosts, errors
        status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"{hosts} hosts, the server's peak {peak // 1024} MB")
    assert peak < 100 * 1024
    for number in range(hosts):
        assert run([str(tmp_path / f"host{number}/demo/bin/demo-manage")]).stdout == "demo 1.0.0\n"
