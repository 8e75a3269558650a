"""Is an artifact what its inputs give? Two artifacts compared to the bit, down to the member that differs."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zstandard

from manifests.artifact import Artifact, Layer
from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import InvalidInput, NotFound, StoreUnavailable

_ENDINGS = (".json", ".json.gz", ".tar.zst", ".tar.gz")
_CHUNK = 1024 * 1024
_Member = tuple[tuple[str, object], ...]
_END = b"\0" * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The first thing that differs: in which layer and member, where it is in one, and how."""

    what: str
    layer: str | None = None
    member: str | None = None

    def __str__(self) -> str:
        where = [f"layer {self.layer}"] if self.layer else []
        where += [f"member {self.member}"] if self.member else []
        return ": ".join([*where, self.what])


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """An artifact on disk: manifest and tarball, and where its provenance lies if it has one."""

    artifact: Artifact
    tarball: Path

    @property
    def options(self) -> dict[str, object]:
        """What else the builder was told (compression level), as provenance beside it says; {} without."""
        artifact = self.artifact
        folder = self.tarball.parent.parent.parent / "provenance" / artifact.service
        try:
            value = parse_json((folder / f"{artifact.stem}.statement.json").read_bytes(), what="provenance")
            found = value["predicate"]["buildDefinition"]["internalParameters"]
        except (OSError, KeyError, TypeError, InvalidInput):
            return {}
        return found if isinstance(found, dict) else {}


def read_files(path: Path) -> Files:
    """Return the artifact that *path*, its manifest or its tarball, belongs to. Both must lie there.

    Raises NotFound, InvalidInput, StoreUnavailable.
    """
    ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
    if ending is None:
        raise InvalidInput(f"{path} is no manifest and no tarball; their names end in {', '.join(_ENDINGS)}")
    stem = path.name.removesuffix(ending)
    for name in (f"{stem}.json", f"{stem}.json.gz"):
        manifest = path.with_name(name)
        if manifest.is_file():
            break
    else:
        raise NotFound(f"there is no manifest {stem}.json beside {path}")
    artifact = Artifact.from_json(_plain(manifest), what=str(manifest))
    tarball = path.with_name(artifact.tarball_path.rpartition("/")[2])
    if not tarball.is_file():
        raise NotFound(f"there is no tarball {tarball}")
    return Files(artifact=artifact, tarball=tarball)


def compare(old: Files, new: Files) -> Difference | None:
    """Return the first difference of *old* and *new*, None where they are equal to the bit.

    Raises StoreUnavailable where a file cannot be read.
    """
    found = _tarballs(old, new)
    if found is None:
        found = _manifests(old.artifact, new.artifact)
    return found


def _tarballs(old: Files, new: Files) -> Difference | None:
    try:
        with old.tarball.open("rb") as first, new.tarball.open("rb") as second:
            for mine, theirs in zip(old.artifact.layers, new.artifact.layers, strict=False):
                if (mine.distribution, mine.version) != (theirs.distribution, theirs.version):
                    return Difference(
                        what=f"the rebuild has {theirs.distribution} {theirs.version} in its place",
                        layer=f"{mine.distribution} {mine.version}",
                    )
                ours, others = _bytes(first, mine), _bytes(second, theirs)
                if ours != others:
                    return _layers(mine, theirs, ours, others, old.artifact.compression)
            if first.read(1) or second.read(1) or len(old.artifact.layers) != len(new.artifact.layers):
                return Difference(what="one has more at its end")
    except OSError as error:
        raise StoreUnavailable(f"cannot read {error.filename}: {error.strerror}") from error
    return None


def _bytes(stream: io.BufferedReader, layer: Layer) -> bytes:
    stream.seek(layer.offset)
    return stream.read(layer.length)


def _layers(mine: Layer, theirs: Layer, ours: bytes, others: bytes, compression: str) -> Difference:
    name = f"{mine.distribution} {mine.version}".rstrip()
    if mine.wheel_sha256 != theirs.wheel_sha256:
        return Difference(what=f"made of another wheel: {mine.wheel}, {theirs.wheel}", layer=name)
    try:
        first, second = _members(ours, mine, compression), _members(others, theirs, compression)
    except (zstandard.ZstdError, zlib.error, tarfile.TarError, ValueError, EOFError) as error:
        return Difference(what=f"its bytes are damaged: {error}", layer=name)
    return _first_member(name, first, second)


def _first_member(name: str, first: Mapping[str, _Member], second: Mapping[str, _Member]) -> Difference:
    for member, content in first.items():
        if member not in second:
            return Difference(what="the rebuild lacks it", layer=name, member=member)
        if content != second[member]:
            return Difference(what=_how(content, second[member]), layer=name, member=member)
    extra = [member for member in second if member not in first]
    if extra:
        return Difference(what="only the rebuild has it", layer=name, member=extra[0])
    if list(first) != list(second):
        return Difference(what="its members are in another order", layer=name)
    return Difference(what="its members are equal, but packed otherwise (another compressor?)", layer=name)


def _members(data: bytes, layer: Layer, compression: str) -> dict[str, _Member]:
    """Return all members of a layer, by name, with what is said of each and its content."""
    plain = _unpacked(data, layer.tar_length, compression)
    with tarfile.open(fileobj=io.BytesIO(plain + _END), mode="r:") as archive:
        found: dict[str, _Member] = {}
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            found[member.name] = (
                ("kind", member.type),
                ("mode", oct(member.mode)),
                ("owner", (member.uid, member.gid, member.uname, member.gname)),
                ("time", member.mtime),
                ("link", member.linkname),
                ("content", content.read() if content is not None else b""),
            )
    return found


def _how(first: _Member, second: _Member) -> str:
    for (name, mine), (_, theirs) in zip(first, second, strict=True):
        if mine != theirs:
            if isinstance(mine, bytes) and isinstance(theirs, bytes) and name == "content":
                at = next(
                    (place for place, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b),
                    min(len(mine), len(theirs)),
                )
                return f"its content differs from byte {at} on ({len(mine)} and {len(theirs)} bytes)"
            return f"its {name} differs: {mine!r}, in the rebuild {theirs!r}"
    return "it differs"


def _manifests(old: Artifact, new: Artifact) -> Difference | None:
    if old.to_json() == new.to_json():
        return None
    first, second = (parse_json(item.to_json(), what="manifest") for item in (old, new))
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            mine, theirs = (canonical_json({key: value.get(key)})[:200].decode() for value in (first, second))
            return Difference(what=f"the manifests differ in {key}: {mine}, in the rebuild {theirs}")
    return None


def _plain(manifest: Path) -> bytes:
    try:
        with manifest.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise StoreUnavailable(f"cannot read {manifest}: {error.strerror}") from error
    if manifest.suffix != ".gz":
        return data
    try:
        return _unpacked(data, MAX_DOCUMENT_BYTES, "gzip")
    except (zlib.error, ValueError) as error:
        raise InvalidInput(f"{manifest} is damaged: {error}") from None


def _unpacked(data: bytes, limit: int, compression: str) -> bytes:
    """Return what *data* unpacks to. Raises ValueError for more than *limit* bytes; the libraries' own."""
    plain = bytearray()
    if compression == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
        while chunk := reader.read(min(_CHUNK, limit + 1 - len(plain))):
            plain += chunk
            if len(plain) > limit:
                break
    else:
        while data and len(plain) <= limit:
            unpacker = zlib.decompressobj(31)
            plain += unpacker.decompress(data, limit + 1 - len(plain))
            data = unpacker.unused_data
    if len(plain) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    return bytes(plain)
