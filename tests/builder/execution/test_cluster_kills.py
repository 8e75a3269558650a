"""kill -9 of schedulers and workers while they build: every build ends, with the very bytes it should."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builder.test_build_command import Site
from tests.cluster import Cluster
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'"),
]

KILLS = 10
WHEELS, MODULES, LINES = 16, 60, 150
BUILD_SECONDS = 400


class Sweep:
    """Builds one release again and again, with nothing cached but wheels, while something is killed."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.site = Site(root)
        self.cluster = cluster
        self.builds = 0
        source = "".join(f"def f{n}(x):\n    return [x + {n}, 'a{n}', {{'k': x}}]\n" for n in range(LINES))
        wheels = [
            make_wheel(
                self.site.wheels,
                f"part{index}",
                "1.0",
                {f"part{index}/m{m}.py": f"i = {index}\n{source}".encode() for m in range(MODULES)},
            )
            for index in range(WHEELS)
        ]
        self.site.lock(self.site.sample, self.site.helper, *wheels)
        done = self.site.run("-o", "undisturbed", timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stderr
        self.expected = self.artifacts("undisturbed")

    def artifacts(self, folder: str) -> dict[str, bytes]:
        root = self.site.root / folder / "artifacts"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def layers(self) -> int:
        return len(list((self.cluster.cache / "layers").glob("*/*.json")))

    def forget_layers(self) -> None:
        for path in (self.cluster.cache / "layers").glob("*/*"):
            path.unlink(missing_ok=True)

    def begin(self, output: str) -> subprocess.Popen[str]:
        return self.site.begin("--cache", str(self.cluster.cache), "-o", output, *self.cluster.options)

    def build(self, kill: Callable[[], bool], times: int) -> int:
        """Build once, and kill up to *times* while layers come; return how often that was."""
        self.builds += 1
        self.forget_layers()
        output = f"out{self.builds}"
        process = self.begin(output)
        killed, deadline = 0, time.monotonic() + BUILD_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                present = self.layers()
                if killed < times and 0 < present < WHEELS and kill():
                    killed += 1
                    while self.layers() == present and process.poll() is None:  # let it recover
                        time.sleep(0.1)
                        assert time.monotonic() < deadline
                time.sleep(random.Random(self.builds * 100 + killed).uniform(0.02, 0.2))
            assert process.wait(5) == 0, process.communicate()[1]
        finally:
            process.kill()
            process.communicate()
        assert self.artifacts(output) == self.expected
        return killed


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "site").mkdir()
    return Sweep(tmp_path / "site", Cluster(tmp_path / "cluster", cache=tmp_path / "cluster/cache"))


def test_every_build_ends_right_whatever_is_killed(sweep: Sweep) -> None:
    counts = {"scheduler": 0, "worker": 0}

    with sweep.cluster as cluster:

        def scheduler() -> bool:
            cluster.kill_scheduler()
            cluster.start_scheduler()
            return True

        def worker() -> bool:
            running = cluster.worker_processes()
            if not running:
                return False
            os.kill(random.Random(sweep.builds).choice(running), signal.SIGKILL)
            return True

        for name, kill in (("worker", worker), ("scheduler", scheduler)):
            while counts[name] < KILLS:
                before = counts[name]
                counts[name] += sweep.build(kill, min(4, KILLS - before))
                assert counts[name] > before, "the build ended before anything could be killed"
    assert counts == {"scheduler": KILLS, "worker": KILLS}


def test_an_interrupt_ends_a_build_whose_scheduler_is_lost_and_the_same_command_goes_on(sweep: Sweep) -> None:
    with sweep.cluster as cluster:
        process = sweep.begin("out")
        deadline = time.monotonic() + BUILD_SECONDS
        while not sweep.layers():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cluster.kill_scheduler()
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for the scheduler
            process.wait(3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=15)
        assert process.returncode == 130
        assert "venvoy: interrupted; nothing was left half-done, the same command goes on" in said
        assert "Traceback" not in said
        assert sweep.layers() > 0
        cluster.start_scheduler()
        again = sweep.begin("out")
        _, said = again.communicate(timeout=BUILD_SECONDS)
        assert again.returncode == 0, said
    assert sweep.artifacts("out") == sweep.expected
