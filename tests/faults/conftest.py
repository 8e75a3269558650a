"""What the fault tests share: a site, runners, quick folders and disks, and figures at the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.preloaded import Preloaded
from tests.faults.scenarios import SCENARIOS, Kit, World
from tests.faults.sweep import Bench
from tests.small_site import HOST, SmallSite
from tests.wheel_factory import make_wheel

_FIGURES = pytest.StashKey[list[str]]()
_ROOM = 256 * 1024 * 1024

Figure = Callable[[str], None]
MakeBench = Callable[[str], Bench]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_FIGURES, []):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Give a function that notes a figure for the end of the test run, with the seconds so far."""
    started = time.monotonic()

    def note(text: str) -> None:
        line = f"{request.node.name}: {text}, {time.monotonic() - started:.1f} s"
        request.node.user_properties.append(("figure", line))
        request.config.stash.setdefault(_FIGURES, []).append(line)

    return note


@pytest.fixture(scope="session")
def strace() -> None:
    """Skip where no process can be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: .ci/install-system-packages brings it")
    if os.geteuid() != 0:
        pytest.skip("needs root: only root may trace a process that is not its child")


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    with Preloaded(tmp_path_factory.mktemp("runner")) as server:
        yield server


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, runner: Preloaded) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"), runner)


class BigSite:
    """A store with an artifact of some 2,000 files in five layers, and four small services."""

    services = ("alpha", "beta", "gamma", "delta")

    def __init__(self, directory: Path) -> None:
        self._site = SmallSite(directory)
        wheels = [
            make_wheel(
                directory / "more",
                f"part{part}",
                "1.0.0",
                {f"part{part}/module_{number}.py": b"VALUE = %d\n" % number * 40 for number in range(250)},
            )
            for part in range(4)
        ]
        self._site.release("1.0.0", "big", more_wheels=wheels)
        for number, name in enumerate(self.services):
            self._site.release(f"2.0.{number}", name)

    def install(self, dest: Path, state: Path, *options: str) -> list[str]:
        """Return the arguments that install the big artifact."""
        return self._arguments("big", "1.0.0", dest, state, *options)

    def install_service(self, name: str, dest: Path, state: Path) -> list[str]:
        """Return the arguments that install a small service."""
        return self._arguments(name, f"2.0.{self.services.index(name)}", dest, state, "--json")

    def _arguments(self, service: str, release: str, dest: Path, state: Path, *options: str) -> list[str]:
        return [
            *("install", service, "--release", release, "--dest", str(dest), "--state", str(state)),
            *("--store", str(self._site.store), "--root", str(self._site.root)),
            *("--python", str(HOST.executable), *options),
        ]


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> BigSite:
    return BigSite(tmp_path_factory.mktemp("big"))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one: a kill loses nothing that a disk would keep."""
    shared = Path("/dev/shm")
    try:
        facts = os.statvfs(shared)
        fits = not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize > _ROOM
    except OSError:
        fits = False
    if not fits or not os.access(shared, os.W_OK):
        yield tmp_path
        return
    folder = shared / f"venvoy-faults-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def bench(strace: None, kit: Kit, runner: Preloaded, quick: Path) -> MakeBench:
    """Give a function that sets a scenario up, by its name."""

    def make(name: str) -> Bench:
        return Bench(SCENARIOS[name], World(root=quick / "world", kit=kit), runner)

    return make
