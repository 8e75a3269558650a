"""200 releases of 30 services for 3 targets: no command takes long, and hosts read little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributor.publishing.keys import load_signers
from distributor.trust.trust import Trust
from manifests.documents import Sha256
from tests.distributor.artifacts import Site, build_artifact
from tests.scale_site import TARGETS, ScaleSite
from tests.small_site import PROJECT

pytestmark = pytest.mark.slow

CPU_BAR = 3.0
BYTES_BAR = 1_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ScaleSite:
    return ScaleSite(tmp_path_factory.mktemp("scale"))


class CountingStore:
    """A store over the wire, as far as bytes go: metadata, and documents."""

    def __init__(self, site: Site) -> None:
        self.location = site.store.location
        self._store = site.store
        self.count = 0

    def read(self, path: str, *, limit: int) -> bytes:
        data = self._store.read(path, limit=limit)
        self.count += len(data)
        return data

    def stream(self, path: str, *, offset: int, length: int) -> Iterator[bytes]:
        for chunk in self._store.stream(path, offset=offset, length=length):
            self.count += len(chunk)
            yield chunk


def cpu(*words: object) -> tuple[float, dict[str, Any]]:
    """Run a command; return the processor time of its process, in seconds, and its document."""
    command = [sys.executable, "-m", "venvoy", *map(str, words), "--json"]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return usage.ru_utime + usage.ru_stime, json.loads(output)


def test_every_command_is_quick(site: ScaleSite, tmp_path: Path) -> None:
    """Processor time, so that neighbours on the machine count little; the store is a directory."""
    store = ["--store", site.store.location]
    (tmp_path / "root.json").write_bytes(site.root)
    host = [*store, "--root", tmp_path / "root.json", "--state", tmp_path / "state"]
    keys = [*store, "--keys", site.keys]
    new = build_artifact(tmp_path / "one", "service-00", "2027.0.0", layers=20)
    label = site.real[0].artifact.stem
    commands: dict[str, list[object]] = {
        "releases": ["releases", *host],
        "show release": ["show", site.last, *host],
        "show artifact": ["show", label, *host],
        "publish one": ["publish", tmp_path / "one", *keys],
        "publish again": ["publish", site.build, *keys],
        "pin 90, dry run": ["pin", "2027.0.0", site.build, "--dry-run", *keys],
        "pin 90": ["pin", "2027.0.0", site.build, *keys],
        "pin one from": ["pin", "2027.1.0", new.artifact.stem, "--from", "2027.0.0", "--partial", *keys],
        "promote": ["promote", "2027.1.0", "stable", "--why", "test", *keys],
        "go back": ["promote", site.releases[0], "stable", "--why", "test", *keys],
        "history": ["history", *host],
        "find": ["find", "package-007==7.3", *host],
        "keys status": ["keys", "status", *host, "--keys", site.keys],
        "renew": ["renew", *keys],
        "rotate releases": ["keys", "rotate", "releases", *keys],
        "rotate artifacts": ["keys", "rotate", "artifacts", *keys],
        "rotate timestamp": ["keys", "rotate", "timestamp", *keys],
    }
    seconds = {}
    for name, words in commands.items():
        seconds[name], _ = cpu(*words)
        print(f"{name}: {seconds[name]:.2f} s CPU")
    slow = {"rotate artifacts": 10.0}
    assert {name: took for name, took in seconds.items() if took > slow.get(name, CPU_BAR)} == {}


def test_a_host_reads_little(site: ScaleSite, tmp_path: Path) -> None:
    store = CountingStore(site)

    def install(service: str, name: str) -> int:
        """Read all that an install of *service* reads but for its layers; return how many bytes."""
        before = store.count
        trust = Trust(store, tmp_path / name, site.root)
        trust.refresh()
        pin = trust.pins(site.last).find(service, TARGETS[0])[0]
        trust.patch_sets(trust.manifest(pin), [Sha256("0" * 64), Sha256("1" * 64)])
        return store.count - before

    first = install("service-00", "host")
    second = install("service-01", "host")
    site.publish(build_artifact(tmp_path / "more", "service-02", "2028.0.0"))
    third = install("service-00", "host")
    print(f"first install: {first:,} bytes; another service: {second:,}; after a publish: {third:,}")
    assert first < BYTES_BAR
    assert second < first
    assert third < first


def test_the_snapshot_is_small(site: ScaleSite) -> None:
    path = site.path(f"metadata/{site.newest('snapshot')}.snapshot.json")
    print(f"snapshot: {path.stat().st_size:,} bytes")
    assert path.stat().st_size < 60_000
    assert load_signers(site.keys, ("snapshot",))
