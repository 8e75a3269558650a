"""The client under test, driven as theupdateframework/tuf-conformance drives it.

In the fast set the wrapper's code runs in this process; in the slow set, and where the clock must be
another one, it is the executable.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.metadata import Metadata

from tests.conformance.tuf_site import TufSite, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

WRAPPER = Path(__file__).with_name("tuf_client")


def _load_wrapper() -> Any:
    loader = importlib.machinery.SourceFileLoader("tuf_client_wrapper", str(WRAPPER))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Client:
    """Runs the wrapper against a served site, and looks at what it trusts."""

    def __init__(self, url: str, folder: Path, *, process: bool) -> None:
        self.url = url
        self.process = process
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.root = folder / "initial_root.json"
        for made in (self.metadata, self.targets):
            made.mkdir()

    def init(self, root: bytes) -> int:
        self.root.write_bytes(root)
        return self._run("init", str(self.root))

    def refresh(self, *, at: datetime | None = None) -> int:
        return self._run("--metadata-url", f"{self.url}/metadata/", "refresh", at=at)

    def download(self, *names: str, at: datetime | None = None) -> int:
        named = [part for name in names for part in ("--target-name", name)]
        return self._run(
            *("--metadata-url", f"{self.url}/metadata/", *named, "--target-dir", str(self.targets)),
            *("--target-base-url", f"{self.url}/targets/", "download"),
            at=at,
        )

    def version(self, role: str) -> int | None:
        path = self.metadata / f"{role}.json"
        return Metadata[Any].from_file(str(path)).signed.version if path.exists() else None

    def trusted(self) -> dict[str, int]:
        """Return the version of each role that the client trusts."""
        return {
            path.name.removesuffix(".json"): Metadata[Any].from_file(str(path)).signed.version
            for path in sorted(self.metadata.glob("*.json"))
        }

    def downloaded(self) -> list[bytes]:
        """Return the contents of what was downloaded, the oldest first."""
        files = [path for path in self.targets.rglob("*") if path.is_file()]
        return [path.read_bytes() for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)]

    def _run(self, *arguments: str, at: datetime | None = None) -> int:
        line = ["--metadata-dir", str(self.metadata), *arguments]
        if not self.process and at is None:
            code: int = _load_wrapper().main(line)
            return code
        command = [str(WRAPPER), *line]
        if at is not None:
            if shutil.which("faketime") is None:
                pytest.skip("faketime is not installed")
            command = ["faketime", f"{at}", *command]
        return subprocess.run(command, check=False, timeout=60).returncode


@pytest.fixture
def site() -> TufSite:
    return TufSite()


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "process"])
def client(site: TufSite, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client that was initialised with the site's first root, in memory: each step of it syncs."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(prefix="venvoy-tuf-", dir=memory if memory.is_dir() else None)
    with served(site) as url, folder as name:
        made = Client(url, Path(name), process=request.param)
        assert made.init(site.published["root"][0]) == 0
        yield made
