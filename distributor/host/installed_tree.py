"""An installed tree held against its own indexes: what was altered, added, or is missing.

The receipt binds the indexes, each index binds its layer's files (digests that RECORD has are taken
from there, and RECORD itself is bound), and the receipt says what the binding must be.
"""

from __future__ import annotations

import csv
import json
import os
import posixpath
import stat
from base64 import urlsafe_b64decode
from collections.abc import Callable, Container, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributor.host.binding import Binding, differences
from distributor.host.hold import HELD
from distributor.host.mutable_paths import mutable_paths_of
from distributor.host.system_packages import link_problems
from manifests.artifact import Artifact, MutablePath
from manifests.atomic_file import TEMPORARY_PREFIX
from manifests.documents import Sha256, digest_of, sha256_bytes, sha256_file
from manifests.errors import InvalidInput, NotFound, VerificationFailed
from manifests.layout import HANDOVER, INDEX_DIRECTORY, MANIFEST, PRISTINE, PRIVATE, RECEIPT
from manifests.receipt import Receipt

_MODES = {"": 0o644, "x": 0o755}
_OURS = (RECEIPT, MANIFEST, HANDOVER, HELD)
"""What an install, and life after it, writes beside the layers' files."""
_OURS_BELOW = (f"{PRISTINE}/", f"{PRIVATE}/{TEMPORARY_PREFIX}")
"""Copies of mutable files, and what killed writers left, which the next run sweeps."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A file as the artifact has it. ``kind`` is "" (plain), "x" (executable) or "l" (link)."""

    kind: str
    size: int
    content: str


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What is not as the artifact has it, as sorted paths; ``mutable`` ones belong to the host."""

    altered: tuple[str, ...]
    added: tuple[str, ...]
    missing: tuple[str, ...]
    modes: tuple[str, ...]
    binding: tuple[str, ...]
    mutable: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether the venv is what was installed, but for what belongs to the host."""
        return not (self.altered or self.added or self.missing or self.modes or self.binding)


def digest_of_indexes(venv: Path) -> Sha256:
    """Return the digest of all layer indexes in *venv*. Raises OSError."""
    folder = venv / INDEX_DIRECTORY
    return digest_of({path.name: sha256_bytes(path.read_bytes()) for path in sorted(folder.glob("*.json"))})


def compare(
    venv: Path, receipt: Receipt, binding: Binding, progress: Callable[[int, int], None] = lambda *_: None
) -> Differences:
    """Read every file of *venv* and return what differs from the artifact.

    Raises VerificationFailed where the indexes themselves are not those of the install, NotFound
    where they are gone.
    """
    expected = expected_files(venv, receipt)
    mutable = mutable_paths_of(venv)
    bound = {*binding.links(), *binding.files(venv), *receipt.system_links}
    indexes = {path for path in expected if path.startswith(f"{INDEX_DIRECTORY}/")}
    sources = expected.keys() | receipt.system_links.keys()
    found = {path: entry for path, entry in _walk(venv) if not _is_bytecode_cache_of_host(path, sources)}
    for path, digest in receipt.files.items():
        size = found[path].st_size if path in found else 0
        expected[path] = Expected(kind="", size=size, content=digest)
    altered: list[str] = []
    modes: list[str] = []
    missing: list[str] = []
    kept: list[str] = []
    for count, (path, wanted) in enumerate(sorted(expected.items())):
        progress(count, len(expected))
        status = found.pop(path, None)
        is_mutable = _inside(path, mutable)
        if status is None:
            (kept if is_mutable else missing).append(path)
        elif not _same_content(venv / path, status, wanted):
            (kept if is_mutable else altered).append(path)
        elif wanted.kind in _MODES and stat.S_IMODE(status.st_mode) != _MODES[wanted.kind]:
            (kept if is_mutable else modes).append(path)
    known = bound | indexes | set(_OURS)
    rest = [path for path in found if path not in known and not path.startswith(_OURS_BELOW)]
    return Differences(
        altered=tuple(altered),
        added=tuple(sorted(path for path in rest if not _inside(path, mutable))),
        missing=tuple(missing),
        modes=tuple(modes),
        binding=(*differences(venv, binding), *link_problems(venv, receipt.system_links)),
        mutable=tuple(sorted([*kept, *(path for path in rest if _inside(path, mutable))])),
    )


def expected_files(
    venv: Path, receipt: Receipt, *, only: Container[str] | None = None
) -> dict[str, Expected]:
    """Return every file that the layers brought, by path; later layers win, as they did unpacking.

    *only* names distributions whose layers count; by default all do.
    """
    folder = venv / INDEX_DIRECTORY
    if not folder.is_dir():
        raise NotFound(f"{venv} has no {INDEX_DIRECTORY}: it was not installed by Venvoy, or not wholly")
    if digest_of_indexes(venv) != receipt.indexes:
        raise VerificationFailed(f"{folder}: the indexes are not those of the install; install with --repair")
    expected: dict[str, Expected] = {}
    for path in _in_layer_order(venv, folder):
        if only is not None and path.stem not in only:
            continue
        data = path.read_bytes()
        own = f"{INDEX_DIRECTORY}/{path.name}"
        expected[own] = Expected(kind="", size=len(data), content=sha256_bytes(data))
        rows: list[list[Any]] = json.loads(data)["files"]
        recorded = _record_digests(venv, rows)
        for name, kind, size, content in rows:
            expected[name] = Expected(kind=kind, size=size, content=content or recorded.get(name, ""))
    return expected


def _in_layer_order(venv: Path, folder: Path) -> list[Path]:
    try:
        artifact = Artifact.from_json((venv / MANIFEST).read_bytes())
    except (OSError, InvalidInput) as error:
        raise VerificationFailed(
            f"{venv / MANIFEST} cannot be read: {error}; install with --repair"
        ) from error
    names = [f"{layer.distribution}.json" for layer in artifact.layers if layer.members]
    return [folder / name for name in names]


def _record_digests(venv: Path, rows: list[list[Any]]) -> dict[str, str]:
    """Return the digests in the layer's RECORD, by path from the venv's root; {} where it was altered."""
    for name, _, _, content in rows:
        if name.endswith(".dist-info/RECORD"):
            try:
                data = (venv / name).read_bytes()
            except OSError:
                return {}
            if sha256_bytes(data) != content:
                return {}
            root = name.rsplit("/", 2)[0]
            return {
                posixpath.normpath(f"{root}/{row[0]}"): _hex(row[1])
                for row in csv.reader(data.decode("utf-8").splitlines())
                if len(row) == 3 and row[1]
            }
    return {}


def _hex(value: str) -> str:
    encoded = value.removeprefix("sha256=")
    return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()


def _inside(path: str, mutable: tuple[MutablePath, ...]) -> bool:
    return any(path == item.path or path.startswith(f"{item.path}/") for item in mutable)


def _is_bytecode_cache_of_host(path: str, sources: Set[str]) -> bool:
    """Whether this is a .pyc that python wrote for a source of ours: harmless, and never trusted."""
    if not path.endswith(".pyc") or path in sources:
        return False
    folder, _, name = path.rpartition("/")
    source = f"{folder.removesuffix('__pycache__')}{name.partition('.')[0]}.py"
    return source in sources


def _walk(venv: Path) -> Iterator[tuple[str, os.stat_result]]:
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(venv / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path, entry.stat(follow_symlinks=False)


def _same_content(path: Path, status: os.stat_result, wanted: Expected) -> bool:
    if wanted.kind == "l":
        return stat.S_ISLNK(status.st_mode) and str(path.readlink()) == wanted.content
    if not stat.S_ISREG(status.st_mode) or status.st_size != wanted.size:
        return False
    # No digest is known where RECORD was altered; RECORD itself is reported then.
    return not wanted.content or sha256_file(path) == wanted.content
