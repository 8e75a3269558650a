"""Verified layers become files: read once, check, then unpack the very bytes that were checked.

A few worker processes take a whole layer at a time, as a file that was verified and that nobody else
can reach, so that no bytes are swapped between check and use.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import zstandard

from distributor.layers.cache import OpenedLayer, OpenLayer
from distributor.layers.staged_files import StagedFiles
from distributor.layers.tar_reader import read_members
from distributor.system.memory import reuse_large_buffers
from distributor.system.pipeline import Ahead, can_fork, run_pipeline
from distributor.system.workers import run_tasks
from manifests.artifact import Artifact, Layer
from manifests.errors import VenvoyError, VerificationFailed

_ONE_PIECE = 24 * 1024 * 1024
_READ = 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024


class Unpacker:
    """Unpacks an artifact below *root*, a fresh directory that nobody else can enter."""

    def __init__(
        self,
        artifact: Artifact,
        open_layer: OpenLayer,
        root: Path,
        *,
        jobs: int = 2,
        files: Callable[[int, frozenset[str]], StagedFiles] = StagedFiles,
    ) -> None:
        """Layers come from *open_layer*; *files* makes what writes them below a directory's descriptor."""
        self._artifact = artifact
        self._open_layer = open_layer
        self._root = root
        self._jobs = jobs
        self._files = files
        self._root_fd = -1
        self._hidden = hidden_paths(artifact)

    def run(
        self,
        progress: Callable[[Layer, int], None] = lambda *_: None,
        *,
        missing: Sequence[int] = (),
        ahead: Ahead | None = None,
    ) -> None:
        """Unpack everything; *progress* is called after each layer, in any order, with the bytes fetched.

        The layers *missing* are those that *ahead* brings; without it, or where no process can be
        forked, all are opened one after the other.

        Raises VerificationFailed naming the layer whose bytes or members are not what was signed,
        StoreUnavailable from the source, OSError from the disk. The tree is then to be thrown away.
        """
        layers = self._artifact.layers
        links: dict[str, str] = {}

        def done(index: int, result: dict[str, Any]) -> None:
            for path, target in result["links"].items():
                if links.setdefault(path, target) != target:
                    raise VerificationFailed(f"{path}: two layers make it a link to different places")
            progress(layers[index], result["fetched"])

        self._root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        umask = os.umask(0o022)
        reuse_large_buffers(_ONE_PIECE)
        try:
            # Large layers first: the last worker to finish should not have begun with the largest.
            order = sorted(range(len(layers)), key=lambda index: -layers[index].tar_length)
            if ahead is not None and can_fork(len(order), self._jobs):
                here = [index for index in order if index not in missing]
                run_pipeline(ahead, here, self._layer, done, jobs=self._jobs)
            else:
                run_tasks(order, self._layer, done, jobs=self._jobs)
            self._make_links(links)
        finally:
            os.umask(umask)
            os.close(self._root_fd)

    def _make_links(self, links: dict[str, str]) -> None:
        for path in links:
            # A link that stands behind another link would not lie where its target was checked for.
            parents = path.split("/")[:-1]
            if any("/".join(parents[: depth + 1]) in links for depth in range(len(parents))):
                raise VerificationFailed(f"{path}: a link in the place of a directory")
        for path, target in sorted(links.items()):
            try:
                os.symlink(target, path, dir_fd=self._root_fd)
            except (FileExistsError, FileNotFoundError, NotADirectoryError):
                raise VerificationFailed(f"{path}: no place for this link among the files") from None

    def _layer(self, index: int, brought: IO[bytes] | None = None) -> dict[str, Any]:
        """Unpack one layer's files; return its links, which are made when all files are there.

        Its verified bytes are those *brought*, else they are opened.
        """
        layer = self._artifact.layers[index]
        try:
            opened = self._open_layer(layer, self._root) if brought is None else OpenedLayer(brought, 0)
            with opened.file as packed:
                read, begun = self._read(packed, layer, plain=opened.plain)
                sink = self._files(self._root_fd, self._hidden.get(index, frozenset()))
                try:
                    if layer.members:
                        read_members(read, layer.tar_length, layer.members, sink, begun=begun)
                finally:
                    sink.close()
        except VenvoyError as error:
            raise type(error)(f"layer {layer.distribution or index}: {error}") from error
        return {"links": sink.links, "fetched": opened.fetched}

    def _read(self, packed: IO[bytes], layer: Layer, *, plain: bool) -> tuple[Callable[[int], bytes], bytes]:
        """Return the tar bytes that are in memory already, behind what reads those after them."""
        if plain:
            return packed.read, b""
        whole = in_one_piece(packed, layer, self._artifact.compression)
        if whole is not None:
            return lambda _: b"", whole
        return tar_bytes(packed, layer, self._artifact.compression), b""


def hidden_paths(artifact: Artifact) -> dict[int, frozenset[str]]:
    """Return, for each layer, the paths that a later layer owns too: the last one's bytes stand."""
    hidden: dict[int, set[str]] = {}
    for overlap in artifact.overlaps:
        for index in overlap.layers[:-1]:
            hidden.setdefault(index, set()).add(overlap.path)
    return {index: frozenset(paths) for index, paths in hidden.items()}


def tar_bytes(packed: IO[bytes], layer: Layer, compression: str) -> Callable[[int], bytes]:
    """Return a ``read(n)`` of the layer's tar bytes; it never unpacks far beyond what is asked for."""
    if compression == "gzip":
        return _gzip_reader(packed)
    whole = in_one_piece(packed, layer, compression)
    if whole is not None:
        return io.BytesIO(whole).read
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = unpacker.stream_reader(packed, read_across_frames=True, read_size=_READ)

    def read(size: int) -> bytes:
        try:
            return reader.read(size)
        except zstandard.ZstdError as error:
            raise VerificationFailed(f"not valid zstd: {error}") from None

    return read


def in_one_piece(packed: IO[bytes], layer: Layer, compression: str) -> bytes | None:
    """Return all of the layer's tar bytes where they are no more than some megabytes in one frame.

    That is the fastest way. None for any other; *packed* is left as it was then.
    """
    if compression == "gzip" or not isinstance(packed, io.BytesIO) or not 0 < layer.tar_length <= _ONE_PIECE:
        return None
    data = packed.getbuffer()
    try:
        if zstandard.get_frame_parameters(data).content_size != layer.tar_length:
            return None
        unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        return unpacker.decompress(data, max_output_size=layer.tar_length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise VerificationFailed(f"not valid zstd: {error}") from None


def _gzip_reader(packed: IO[bytes]) -> Callable[[int], bytes]:
    unpacker = zlib.decompressobj(wbits=31)

    def read(size: int) -> bytes:
        nonlocal unpacker
        while True:
            if unpacker.eof:
                rest = unpacker.unused_data or packed.read(_READ)
                if not rest:
                    return b""
                unpacker = zlib.decompressobj(wbits=31)
            else:
                rest = unpacker.unconsumed_tail or packed.read(_READ)
            try:
                data = unpacker.decompress(rest, size)
            except zlib.error as error:
                raise VerificationFailed(f"not valid gzip: {error}") from None
            if data or (not rest and not unpacker.eof):
                return data

    return read
