"""What plays need: Venvoy's host part, a store with releases behind HTTP, and hosts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributor.ansible.playground import Playground
from tests.overlay_hosts import overlay_hosts, why_not
from tests.small_site import PROJECT, TARGET, SmallSite, venvoy

SERVICES = ("keystone", "nova", "horizon")


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of the host part."""
    output = tmp_path_factory.mktemp("tool")
    done = venvoy("tool", "-t", str(TARGET), "-o", output, "--json")
    assert done.returncode == 0, done.stderr
    return next(output.glob("artifacts/*/*.tar.gz"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    """Return a site with two releases of three services."""
    made = SmallSite(tmp_path_factory.mktemp("site"))
    for release in ("1.0.0", "1.0.1"):
        built = [
            made.release(
                release,
                service,
                etc={"default.conf": f"of {release}\n".encode(), "same.conf": b"same\n"},
                publish=False,
            )
            for service in SERVICES
        ]
        made.publish(*built)
        made.pin(release, *built)
    return made


@pytest.fixture(scope="session")
def store_address(site: SmallSite) -> Iterator[str]:
    """Yield where the site's store is served."""
    with serving(site.store) as address:
        yield address


@contextlib.contextmanager
def serving(store: Path) -> Iterator[str]:
    """Serve a store on the loopback until the end."""
    command = [
        sys.executable,
        "-m",
        "venvoy",
        "serve-store",
        str(store),
        "--listen",
        "127.0.0.1:0",
        "--quiet",
        "--json",
    ]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield str(json.loads(server.stdout.readline())["url"])
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def bare(
    tmp_path_factory: pytest.TempPathFactory, tool: Path
) -> Callable[..., contextlib.AbstractContextManager[Playground]]:
    """Return what makes a playground of bare hosts."""
    why = why_not()
    if why:
        pytest.skip(why)
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")

    @contextlib.contextmanager
    def make(*names: str) -> Iterator[Playground]:
        folder = tmp_path_factory.mktemp("play")
        try:
            with overlay_hosts(folder / "hosts", names) as roots:
                yield Playground(folder / "controller", roots, tool)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"overlay mounts do not work here: {error.stderr.decode().strip()}")

    return make


@pytest.fixture
def prebuilt(store_address: str, site: SmallSite) -> dict[str, str]:
    """Return the variables of a site whose store holds all that is installed."""
    return {"venv_artifact_store": store_address, "venv_artifact_root": str(site.root)}
