"""One wheel becomes one layer: its installed tree as tar members, compressed, with its facts.

A layer depends on nothing but the wheel, its name and version as locked, the target's python, the
compiling interpreter's full version, the compressor and this format; its key is the digest of those.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from builder.layers.bytecode import BytecodeCompiler, pyc_path
from builder.layers.compression import Compression, FrameWriter
from builder.layers.elf import ElfFile, read_elf
from builder.layers.tree import parents_of
from manifests.artifact import EntryPoint
from manifests.documents import Sha256, canonical_json, digest_of
from manifests.layout import index_path
from manifests.target import Target

if TYPE_CHECKING:
    from builder.layers.wheel_tree import WheelTree

LAYER_FORMAT = 1
_MAX_NAME = 255


@dataclass(frozen=True, kw_only=True)
class LayerRequest:
    """All inputs of one layer. ``interpreter`` and its version are None where no ``.pyc`` are made."""

    distribution: str
    version: str
    wheel: Path
    wheel_sha256: Sha256
    target: Target
    interpreter: Path | None
    interpreter_version: str | None
    compression: Compression

    @functools.cached_property
    def key(self) -> Sha256:
        """The layer's key: equal keys mean equal bytes."""
        return digest_of(
            {
                "format": LAYER_FORMAT,
                "wheel": self.wheel_sha256,
                "distribution": self.distribution,
                "version": self.version,
                "python": self.target.python_name,
                "compiled_by": self.interpreter_version,
                "compression": self.compression.identity,
            }
        )


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """A built layer's facts. ``files`` maps each path to its sha256 (links: ``-> target``)."""

    key: Sha256
    distribution: str
    version: str
    length: int
    sha256: Sha256
    tar_length: int
    tar_sha256: Sha256
    members: int
    files: dict[str, str]
    entry_points: tuple[EntryPoint, ...] = ()
    elf: tuple[ElfFile, ...] = ()

    @property
    def directories(self) -> set[str]:
        """Every directory that the layer holds."""
        return parents_of(self.files)


def build_layer(request: LayerRequest, sink: IO[bytes]) -> LayerRecord:
    """Write the layer to *sink* and return its facts.

    Raises VerificationFailed where the wheel is not what the request says, HostUnsuitable where the
    interpreter cannot compile.
    """
    from builder.layers.wheel_tree import installed_tree  # what a build of cached layers need not load

    with installed_tree(request.wheel, request.wheel_sha256, request.target, request.distribution) as tree:
        elf = tuple(read_elf(path, tree.open(path)) for path in sorted(tree.elf_files))
        if request.interpreter is not None:
            _add_bytecode(tree, request.target, _compiler(request.interpreter))
        tree.write_record()
        index = index_path(request.distribution)
        tree.add(index, _index(request.distribution, request.version, tree))
        writer = FrameWriter(sink, request.compression)
        members = tree.write_to(writer)
        return LayerRecord(
            key=request.key,
            distribution=request.distribution,
            version=request.version,
            length=writer.length,
            sha256=writer.sha256,
            tar_length=writer.tar_length,
            tar_sha256=writer.tar_sha256,
            members=members,
            files={path: entry.sha256 for path, entry in tree.files.items()},
            entry_points=tuple(tree.entry_points),
            elf=elf,
        )


def index_document(distribution: str, version: str, rows: Iterable[tuple[str, str, int, str]]) -> bytes:
    """Return a layer's index: what ``verify`` holds the installed files against.

    Rows are path, kind ("" plain, "x" executable, "l" link), size, and sha256 (of links: the target).
    An empty sha256 stands for "as RECORD says": digests do not compress, so none is written twice.
    RECORD's own digest is here, hence all of them are bound. The index does not name itself.
    """
    return canonical_json(
        {"format": "1.0", "distribution": distribution, "version": version, "files": list(rows)}
    )


def _index(distribution: str, version: str, tree: WheelTree) -> bytes:
    rows = (
        (path, "x" if entry.executable else "", entry.size, "" if path in tree.hashed else entry.sha256)
        for path, entry in sorted(tree.files.items())
    )
    return index_document(distribution, version, rows)


def _add_bytecode(tree: WheelTree, target: Target, compiler: BytecodeCompiler) -> None:
    prefix = tree.site_packages + "/"
    sources = sorted(path for path in tree.files if path.endswith(".py") and path.startswith(prefix))
    batch: list[str] = []
    size = 0
    for path in sources:
        batch.append(path)
        size += tree.files[path].size
        if len(batch) == 100 or size > 8 * 1024 * 1024:
            _compile(batch, tree, target, compiler)
            batch, size = [], 0
    _compile(batch, tree, target, compiler)


def _compile(batch: list[str], tree: WheelTree, target: Target, compiler: BytecodeCompiler) -> None:
    for path, pyc in zip(batch, compiler.compile([(path, tree.read(path)) for path in batch]), strict=True):
        place = pyc_path(path, target)
        if pyc and len(place.rpartition("/")[2].encode("utf-8")) <= _MAX_NAME:
            tree.add(place, pyc)


@functools.cache
def _compiler(executable: Path) -> BytecodeCompiler:
    """One server for each interpreter and process; it ends with the process."""
    compiler = BytecodeCompiler(executable)
    atexit.register(compiler.close)
    return compiler
