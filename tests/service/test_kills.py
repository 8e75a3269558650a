"""Signal 9 for the service, its workers, the scheduler and the cluster's workers, while builds run.

Every build that was accepted ends published, once, identical to the bit; and at no time does the store show
anything half-done.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from distributor.publishing.repository import open_repository
from distributor.stores.directory import DirectoryStore
from manifests.artifact import Artifact
from manifests.documents import sha256_file
from tests.cluster import Cluster, children
from tests.service_site import ServiceSite, written
from tests.small_site import HOST, TARGET, venvoy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow
KILLS = 10
RELEASES = 15
SERVICES = ("alpha", "beta")
BUILDS = "/api/v1/builds"


class Sweep:
    """Submits releases, kills, and holds what came of it against builds that nobody disturbed."""

    def __init__(self, site: ServiceSite, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.bodies = {release: self.request(release) for release in (f"1.{n}.0" for n in range(RELEASES))}
        self.accepted: dict[str, str] = {}
        self.killed: dict[str, int] = {}

    def request(self, release: str) -> dict[str, Any]:
        """Ask for two services of which each takes a while."""
        noise = random.Random(release)
        files = {f"data/{n}.bin": noise.randbytes(1024 * 1024) for n in range(2)}
        return self.site.request(release, SERVICES, files=files)

    def submit(self, release: str) -> None:
        """Ask for a release as a client does: until there is an answer."""
        for _ in range(100):
            with contextlib.suppress(requests.RequestException):
                answer = self.site.submit(self.bodies[release], publish=True)
                self.accepted[release] = answer["id"]
                return
            time.sleep(0.1)
        raise AssertionError(f"{release} was never accepted")

    def run(self, kills: Mapping[str, Callable[[], bool]]) -> None:
        """Kill each of *kills* ``KILLS`` times at random moments while there is work."""
        waiting = list(self.bodies)
        plan = [name for name in kills for _ in range(KILLS)]
        self.random.shuffle(plan)
        for name in plan:
            while waiting and self.unfinished() < 3:
                self.submit(waiting.pop())
            if not self.unfinished():  # all is done: there must be something to disturb
                self.again()
            time.sleep(self.random.uniform(0.1, 2.5))
            deadline = time.monotonic() + 60
            while not kills[name]():
                assert time.monotonic() < deadline, f"there was nothing to kill: {name}"
                if not self.unfinished():
                    self.again()
                time.sleep(0.02)
            self.killed[name] = self.killed.get(name, 0) + 1
            self.check_store()
        for release in waiting:
            self.submit(release)

    def unfinished(self) -> int:
        return sum(
            self.site.build(build)["state"] not in ("published", "failed") for build in self.accepted.values()
        )

    def again(self) -> None:
        """Have something that is done be done once more."""
        build = self.random.choice(list(self.accepted.values()))
        assert self.site.call("POST", f"{BUILDS}/{build}/retry").status_code == 200

    def check_store(self) -> dict[str, Artifact]:
        """Everything that is signed is there, whole, whoever was killed meanwhile."""
        store = DirectoryStore(self.site.site.store)
        repository = open_repository(store, self.site.keys, ())
        trust = repository.trust
        found = {}
        for path in trust.entries("artifacts"):
            if path.startswith("artifacts/"):
                artifact = trust.published(path)
                tarball = self.site.site.store / artifact.tarball_path
                assert (tarball.stat().st_size, sha256_file(tarball)) == (artifact.length, artifact.sha256)
                found[path] = artifact
        return found

    def check_end(self, work: Path) -> None:
        """Every accepted build is published, once, and what nobody disturbed is the same to the bit."""
        for release, build_id in self.accepted.items():
            build = self.site.wait(build_id, 300)
            assert build["state"] == "published", (release, build["error"], self.site.texts(build_id))
        assert len(self.accepted) == RELEASES
        found = self.check_store()
        names = sorted((artifact.service, artifact.version) for artifact in found.values())
        assert names == sorted((service, release) for service in SERVICES for release in self.bodies)
        for release, body in self.bodies.items():
            folder = work / release
            folder.mkdir(parents=True)
            done = venvoy(
                *(
                    "build",
                    written(folder, body),
                    "-o",
                    folder / "build",
                    "--cache",
                    work / "cache",
                    "--json",
                ),
                *("--offline", "--wheels", self.site.wheels, "--python", f"{TARGET}={HOST.executable}"),
            )
            assert done.returncode == 0, done.stderr
            for artifact in json.loads(done.stdout)["artifacts"]:
                ours = Artifact.from_json((folder / artifact["manifest"]).read_bytes())
                assert ours.to_json() == found[ours.manifest_path].to_json()
                assert sha256_file(folder / artifact["tarball"]) == ours.sha256


def kill_one(pids: list[int]) -> bool:
    """Kill the first of *pids* that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def restart(site: ServiceSite) -> bool:
    """Kill the service and start it again."""
    site.kill()
    site.start()
    return True


def test_kills_of_service_and_workers(tmp_path: Path) -> None:
    site = ServiceSite(
        tmp_path,
        options=("--workers", "2", "--attempts", "50", "--rate", "100000"),
        build_options=("--jobs", "2"),
    )
    sweep = Sweep(site, seed=7)
    with site.running():
        sweep.run(
            {
                "service": lambda: restart(site),
                "worker": lambda: kill_one(site.workers()),
                "layer process": lambda: kill_one(
                    [child for worker in site.workers() for child in children(worker)]
                ),
            }
        )
        sweep.check_end(tmp_path / "undisturbed")
    assert sweep.killed == {"service": KILLS, "worker": KILLS, "layer process": KILLS}


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'")
def test_kills_of_service_scheduler_and_cluster_workers(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with Cluster(tmp_path / "cluster", cache=tmp_path / "state/cache") as cluster:
        site = ServiceSite(
            tmp_path,
            options=("--workers", "2", "--attempts", "50", "--rate", "100000"),
            build_options=tuple(cluster.options),
        )
        sweep = Sweep(site, seed=11)

        def scheduler() -> bool:
            cluster.kill_scheduler()
            cluster.start_scheduler()
            return True

        with site.running():
            sweep.run(
                {
                    "service": lambda: restart(site),
                    "scheduler": scheduler,
                    "cluster worker": lambda: kill_one(cluster.worker_processes()),
                }
            )
            sweep.check_end(tmp_path / "undisturbed")
    assert sweep.killed == {"service": KILLS, "scheduler": KILLS, "cluster worker": KILLS}
