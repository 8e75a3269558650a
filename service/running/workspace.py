"""The folder of one build: its inputs as files, and what it built."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from manifests.atomic_file import write_atomically
from manifests.documents import sha256_file
from manifests.errors import StoreUnavailable
from service.submission import LOCK_DIRECTORY, SPEC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from service.state.build import Build

_PATHS = ("tarball", "manifest")


class Workspace:
    """The folder of a build below *root*. Made anew for each run: what takes time is cached."""

    def __init__(self, root: Path, build_id: str) -> None:
        self.folder = root / build_id
        self.inputs = self.folder / "inputs"
        self.output = self.folder / "output"

    def prepare(self, build: Build, content: Callable[[str], bytes]) -> Path:
        """Write the inputs of *build*, each as *content* has it by sha256, and return the spec's path.

        Raises StoreUnavailable where the disk fails.
        """
        files = {SPEC_NAME: build.inputs.spec}
        files |= {f"{LOCK_DIRECTORY}/{name}": sha256 for name, sha256 in build.inputs.locks.items()}
        files |= build.inputs.files
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.output.mkdir(mode=0o700, parents=True)
            for name, sha256 in files.items():
                path = self.inputs / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Nothing here outlives a crash: who comes next writes it again.
                write_atomically(path, content(sha256), sync=False)
        except OSError as error:
            raise StoreUnavailable(f"cannot write {self.inputs}: {error.strerror}") from error
        return self.inputs / SPEC_NAME

    def result(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return what ``venvoy build --json`` printed with paths relative to the output, and its files.

        Raises StoreUnavailable where the disk fails.
        """
        artifacts = [
            {
                **artifact,
                **{key: os.path.relpath(artifact[key], self.output) for key in _PATHS if key in artifact},
            }
            for artifact in document.get("artifacts", [])
        ]
        known = {artifact.get("tarball"): artifact.get("sha256") for artifact in artifacts}
        files = []
        try:
            for path in sorted(path for path in self.output.rglob("*") if path.is_file()):
                name = str(path.relative_to(self.output))
                if not path.name.startswith("."):
                    sha256 = known.get(name) or sha256_file(path)
                    files.append({"path": name, "length": path.stat().st_size, "sha256": sha256})
        except OSError as error:
            raise StoreUnavailable(f"cannot read {self.output}: {error.strerror}") from error
        return {"artifacts": artifacts, "files": files}

    def remove(self) -> None:
        """Remove the folder; what cannot be removed is left for the next time."""
        shutil.rmtree(self.folder, ignore_errors=True)
