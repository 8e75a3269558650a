"""200 releases of 30 services for 3 targets: no command takes long, and hosts read little."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributor.publishing.keys import load_signers
from distributor.trust.trust import Trust
from manifests.documents import Sha256
from tests.distributor.artifacts import Site, build_artifact
from tests.generated_store import SCALE_TARGETS, ScaleSite
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


def cpu(compiled: Path, *words: object) -> float:
    """Run a command; return the processor time of its process, in seconds.

    Its modules are compiled once, into *compiled*, as an installation has them.
    """
    command = [sys.executable, "-m", "venvoy", *map(str, words)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command}\n{output[-2000:]}"
    return usage.ru_utime + usage.ru_stime


def commands(site: ScaleSite, folder: Path) -> dict[str, list[object]]:
    """Return every command that reads or writes a store, in an order in which all of them succeed."""
    store = ["--store", site.store.location]
    root = folder / "root.json"
    root.write_bytes(site.root)
    host = [*store, "--root", root, "--state", folder / "state"]
    keys = [*store, "--keys", site.keys]
    new = build_artifact(folder / "one", "service-00", "2027.0.0", layers=20, target=SCALE_TARGETS[0])
    unpinned = build_artifact(folder / "two", "service-00", "2027.5.0", layers=20, target=SCALE_TARGETS[0])
    real = site.real[0].artifact.stem
    bundles = [folder / f"{name}.bundle" for name in ("one", "hosts", "all")]
    last, why = site.last, ("--why", "test")
    into = [("--store", folder / f"import-{n}", "--root", root, "--state", folder / f"s{n}") for n in (1, 2)]
    public = site.keys / "releases@two.pub.json"
    site.publish(unpinned)
    return {
        "releases": ["releases", *host],
        "show RELEASE": ["show", last, *host],
        "show ARTIFACT": ["show", real, *host],
        "find": ["find", "package-007==7.3", *host],
        "publish one": ["publish", folder / "one", *keys],
        "publish 90 again": ["publish", site.build, *keys],
        "pin 90, dry run": ["pin", "2027.0.0", site.build, "--dry-run", *keys],
        "pin 90": ["pin", "2027.0.0", site.build, *keys],
        "pin one, 89 --from": ["pin", "2027.1.0", new.artifact.stem, "--from", "2027.0.0", *keys],
        "diff of two releases": ["diff", "2027.0.0", "2027.1.0", *host],
        "pin 90 --propose": ["pin", "2027.2.0", site.build, *keys, "--propose", folder / "p.json"],
        "countersign": ["countersign", folder / "p.json", "--yes", *keys],
        "forward": ["forward", folder / "p.json", *keys],
        "promote": ["promote", "2027.1.0", "stable", *why, *keys],
        "promote back across 200": ["promote", site.releases[0], "stable", *why, *keys],
        "history": ["history", *host],
        "export 1 service": ["export", last, "service-00", "-o", bundles[0], *host],
        "export 1 --for-hosts": ["export", last, "service-00", "-o", bundles[1], "--for-hosts", *host],
        "export all": ["export", last, "-o", bundles[2], *host],
        "import 1 service": ["import", bundles[0], *into[0]],
        "import all": ["import", bundles[2], *into[1]],
        "status": ["status", folder / "venvs"],
        "keys status": ["keys", "status", *host, "--keys", site.keys],
        "keys new": ["keys", "new", "releases", "--label", "two", "--keys", site.keys],
        "keys draft": ["keys", "draft", "--add", f"releases={public}", "-o", folder / "c.json", *host],
        "keys sign": ["keys", "sign", folder / "c.json", "--yes", "--keys", site.keys],
        "keys apply": ["keys", "apply", folder / "c.json", *keys],
        **{
            f"keys rotate {role}": ["keys", "rotate", role, *keys]
            for role in ("root", "targets", "snapshot", "timestamp", "artifacts")
        },
        "renew": ["renew", *keys],
        "prune --dry-run": ["prune", "--grace", "0", "--dry-run", *keys],
        "prune": ["prune", "--grace", "0", *keys],
    }


def test_every_command_is_quick(site: ScaleSite, tmp_path: Path) -> None:
    """Processor time, so that neighbours on the machine count little; the store is a directory."""
    (tmp_path / "venvs").mkdir()
    cpu(tmp_path / "compiled", "releases", "--help")
    seconds = {}
    for name, words in commands(site, tmp_path).items():
        seconds[name] = cpu(tmp_path / "compiled", *words)
        print(f"{name}: {seconds[name]:.2f} s CPU")
    assert {name: took for name, took in seconds.items() if took > CPU_BAR} == {}


def test_a_host_reads_little(site: ScaleSite, tmp_path: Path) -> None:
    store = CountingStore(site)

    def install(service: str, name: str) -> int:
        """Read all that an install of *service* reads but for its layers; return how many bytes."""
        before = store.count
        trust = Trust(store, tmp_path / name, site.root)
        trust.refresh()
        pin = trust.pins(site.last).find(service, SCALE_TARGETS[0])[0]
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
