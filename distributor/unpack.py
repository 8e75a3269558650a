"""Verified layers become files: read once, check, then unpack the very bytes that were checked.

A few worker processes take a whole layer at a time. Small layers stay in memory, large ones go to an
unnamed file in the private staging directory, so that nobody can swap bytes between check and use.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

from distributor.tar_reader import read_members
from distributor.workers import run_tasks
from manifests.artifact import Artifact, Layer
from manifests.errors import VenvoyError, VerificationFailed

_IN_MEMORY = 8 * 1024 * 1024
_ONE_PIECE = 24 * 1024 * 1024
_READ = 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024


class LayerBytes(Protocol):
    """Where a layer's compressed bytes come from."""

    def __call__(self, layer: Layer) -> Iterator[bytes]:
        """Yield the bytes of *layer* in chunks; they are not trusted."""


class Unpacker:
    """Unpacks an artifact below *root*, a fresh directory that nobody else can enter."""

    def __init__(self, artifact: Artifact, source: LayerBytes, root: Path, *, jobs: int = 2) -> None:
        self._artifact = artifact
        self._source = source
        self._root = root
        self._jobs = jobs
        self._root_fd = -1
        self._hidden = hidden_paths(artifact)

    def run(self, progress: Callable[[Layer], None] = lambda _: None) -> None:
        """Unpack everything; *progress* is called after each layer, in any order.

        Raises VerificationFailed naming the layer whose bytes or members are not what was signed,
        StoreUnavailable from the source, OSError from the disk. The tree is then to be thrown away.
        """
        layers = self._artifact.layers
        links: dict[str, str] = {}

        def done(index: int, found: dict[str, str]) -> None:
            for path, target in found.items():
                if links.setdefault(path, target) != target:
                    raise VerificationFailed(f"{path}: two layers make it a link to different places")
            progress(layers[index])

        self._root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        umask = os.umask(0o022)
        try:
            # Large layers first: the last worker to finish should not have begun with the largest.
            order = sorted(range(len(layers)), key=lambda index: -layers[index].tar_length)
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

    def _layer(self, index: int) -> dict[str, str]:
        """Unpack one layer's files and return its links, which are made when all files are there."""
        layer = self._artifact.layers[index]
        try:
            with verified_bytes(layer, self._source(layer), self._root) as packed:
                read = tar_bytes(packed, layer, self._artifact.compression)
                sink = _Files(self._root_fd, self._hidden.get(index, frozenset()))
                try:
                    if layer.members:
                        read_members(read, layer.tar_length, layer.members, sink)
                finally:
                    sink.close()
        except VenvoyError as error:
            raise type(error)(f"layer {layer.distribution or index}: {error}") from error
        return sink.links


def hidden_paths(artifact: Artifact) -> dict[int, frozenset[str]]:
    """Return, for each layer, the paths that a later layer owns too: the last one's bytes stand."""
    hidden: dict[int, set[str]] = {}
    for overlap in artifact.overlaps:
        for index in overlap.layers[:-1]:
            hidden.setdefault(index, set()).add(overlap.path)
    return {index: frozenset(paths) for index, paths in hidden.items()}


def verified_bytes(layer: Layer, chunks: Iterator[bytes], private: Path) -> IO[bytes]:
    """Return the layer's compressed bytes as a file, after length and digest were found right.

    Raises VerificationFailed as soon as there are too many bytes, and for any other digest.
    """
    small = layer.length <= _IN_MEMORY
    held: IO[bytes] = io.BytesIO() if small else tempfile.TemporaryFile(dir=private)  # noqa: SIM115 - the caller closes it
    digest = hashlib.sha256()
    length = 0
    try:
        for chunk in chunks:
            length += len(chunk)
            if length > layer.length:
                raise VerificationFailed(f"more than the signed {layer.length} bytes")
            digest.update(chunk)
            held.write(chunk)
        if length != layer.length:
            raise VerificationFailed(f"{length} bytes instead of the signed {layer.length}")
        if digest.hexdigest() != layer.sha256:
            raise VerificationFailed(f"sha256 is {digest.hexdigest()}, signed was {layer.sha256}")
    except BaseException:
        held.close()
        raise
    held.seek(0)
    return held


def tar_bytes(packed: IO[bytes], layer: Layer, compression: str) -> Callable[[int], bytes]:
    """Return a ``read(n)`` of the layer's tar bytes; it never unpacks far beyond what is asked for."""
    if compression == "gzip":
        return _gzip_reader(packed)
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    if isinstance(packed, io.BytesIO) and 0 < layer.tar_length <= _ONE_PIECE:
        whole = _one_frame(unpacker, packed.getbuffer(), layer.tar_length)
        if whole is not None:
            return whole.read
    reader = unpacker.stream_reader(packed, read_across_frames=True, read_size=_READ)

    def read(size: int) -> bytes:
        try:
            return reader.read(size)
        except zstandard.ZstdError as error:
            raise VerificationFailed(f"not valid zstd: {error}") from None

    return read


def _one_frame(unpacker: zstandard.ZstdDecompressor, data: memoryview, length: int) -> io.BytesIO | None:
    """Return the content if *data* is one frame that says it holds *length* bytes: the fastest way."""
    try:
        if zstandard.get_frame_parameters(data).content_size != length:
            return None
        return io.BytesIO(unpacker.decompress(data, max_output_size=length, allow_extra_data=False))
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


class _Files:
    """Writes members below a directory descriptor. One worker's; several share the directory.

    There is no symbolic link below the root while files are written (links come last, and nobody
    else can enter), so paths cannot lead outside; O_EXCL and O_NOFOLLOW hold that against surprises.
    The caller's umask is 022 and the root has no default ACL, so that ``open`` sets exact modes.
    """

    _CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    _ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, root_fd: int, hidden: frozenset[str]) -> None:
        self._root_fd = root_fd
        self._hidden = hidden
        self.links: dict[str, str] = {}
        self._folder = ""
        self._folder_fd = root_fd

    def directory(self, path: str) -> None:
        try:
            os.mkdir(path, 0o755, dir_fd=self._root_fd)
        except FileExistsError:
            self._enter(path)  # another layer has it too: make sure that it is a directory
        except (FileNotFoundError, NotADirectoryError):
            raise VerificationFailed(f"{path}: there is no directory yet that could hold it") from None

    def link(self, path: str, target: str) -> None:
        if path in self.links:
            raise VerificationFailed(f"{path}: a link that stands twice")
        if path not in self._hidden:
            self.links[path] = target

    def file(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        if self._hidden and f"{folder}/{name}" in self._hidden:
            for _ in content:
                pass
            return
        if folder != self._folder:
            self._enter(folder)
        try:
            descriptor = os.open(name, self._CREATE, mode, dir_fd=self._folder_fd)
        except FileExistsError:
            raise VerificationFailed(
                f"{folder}/{name}: a second layer holds it, which the manifest does not say"
            ) from None
        try:
            for part in content:
                done = os.write(descriptor, part)
                while done < len(part):
                    done += os.write(descriptor, part[done:])
        finally:
            os.close(descriptor)

    def close(self) -> None:
        if self._folder_fd != self._root_fd:
            os.close(self._folder_fd)
            self._folder, self._folder_fd = "", self._root_fd

    def _enter(self, folder: str) -> None:
        self.close()
        if folder:
            try:
                self._folder_fd = os.open(folder, self._ENTER, dir_fd=self._root_fd)
            except FileNotFoundError:
                raise VerificationFailed(f"{folder}: files come before their directory") from None
            except NotADirectoryError:
                raise VerificationFailed(f"{folder}: a file and a directory of one name") from None
            self._folder = folder
