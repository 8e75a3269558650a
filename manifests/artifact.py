"""The artifact manifest: what a tarball is, where its layers lie, and what it needs of a host.

It is a pure function of the inputs. Release, date, builder and tool version are not in it: those
live in pins and provenance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import artifact_directory, artifact_stem, safe_relative_path, service_name
from manifests.target import Target

FORMAT_MAJOR = 1
FORMAT = "1.0"
_SUFFIXES = {"zstd": ".tar.zst", "gzip": ".tar.gz"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: the installed tree of one wheel (or the skeleton, or the archive's end).

    ``offset`` and ``length`` are bytes in the tarball; ``tar_length`` and ``tar_sha256`` are of the
    tar members before compression. ``wheel`` is empty for skeleton and end.
    """

    distribution: str
    version: str
    wheel: str
    wheel_sha256: Sha256 | None
    offset: int
    length: int
    sha256: Sha256
    tar_length: int
    tar_sha256: Sha256
    members: int


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a host must offer, computed from wheel tags and ELF files.

    ``libraries`` maps each soname from outside the artifact to the symbol versions used of it.
    """

    python: str
    machine: str
    libc: str
    libc_version: str
    libraries: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A path that several layers own; the last one's bytes stand, as ``tar -x`` would have it."""

    path: str
    layers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class MutablePath:
    """A path whose content belongs to the host. ``policy`` is ``keep`` or ``new``."""

    path: str
    policy: str = "keep"


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Health checks of the staged tree: modules to import, commands to run, seconds for each.

    They run as *user*, or as who installs where there is none. With ``dependencies``, what each
    distribution requires must be in the tree.
    """

    imports: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    timeout: int = 60
    user: str | None = None
    dependencies: bool = True


@dataclass(frozen=True, kw_only=True)
class EntryPoint:
    """A console or GUI script: launcher ``name`` calls ``module:attribute``."""

    name: str
    module: str
    attribute: str


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The whole manifest. ``identity`` is the digest of all inputs; twelve digits label files."""

    service: str
    version: str
    target: Target
    identity: Sha256
    compression: str
    compiled_by: str | None
    needs: Needs
    layers: tuple[Layer, ...]
    length: int
    sha256: Sha256
    entry_points: tuple[EntryPoint, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    checks: Checks = Checks()
    mutable_paths: tuple[MutablePath, ...] = ()
    system_packages: tuple[str, ...] = ()
    rollback_barrier: str | None = None

    @property
    def stem(self) -> str:
        """The label that names this artifact's files."""
        return artifact_stem(self.service, self.version, str(self.target), self.identity)

    @property
    def tarball_path(self) -> str:
        """The tarball's path in a store."""
        return f"{artifact_directory(self.service)}/{self.stem}{_SUFFIXES[self.compression]}"

    @property
    def manifest_path(self) -> str:
        """The manifest's path in a store."""
        return f"{artifact_directory(self.service)}/{self.stem}.json.gz"

    @property
    def unpacked_size(self) -> int:
        """Bytes of tar members before compression; an upper bound of the files' sizes."""
        return sum(layer.tar_length for layer in self.layers)

    def to_json(self) -> bytes:
        """Return the canonical JSON of this manifest."""
        return canonical_json(
            {
                "format": FORMAT,
                "service": self.service,
                "version": self.version,
                "target": str(self.target),
                "identity": self.identity,
                "compression": self.compression,
                "compiled_by": self.compiled_by,
                "needs": _needs_value(self.needs),
                "layers": [_plain(layer) for layer in self.layers],
                "tarball": {"length": self.length, "sha256": self.sha256},
                "entry_points": [_plain(item) for item in self.entry_points],
                "overlaps": [_plain(item) for item in self.overlaps],
                "checks": _checks_value(self.checks),
                "mutable_paths": [_plain(item) for item in self.mutable_paths],
                "system_packages": self.system_packages,
                "rollback_barrier": self.rollback_barrier,
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str = "artifact manifest") -> Artifact:
        """Read a manifest. Raises InvalidInput naming the field; layers must tile the tarball."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        tarball = top.object("tarball")
        checks = top.object("checks", required=False)
        artifact = cls(
            service=service_name(top.text("service")),
            version=top.text("version"),
            target=Target.parse(top.text("target")),
            identity=top.sha256("identity"),
            compression=_read_compression(top),
            compiled_by=top.optional_text("compiled_by"),
            needs=_read_needs(top.object("needs")),
            layers=tuple(_read_layer(item) for item in top.objects("layers")),
            length=tarball.count("length"),
            sha256=tarball.sha256("sha256"),
            entry_points=tuple(_read_entry_point(item) for item in top.objects("entry_points")),
            overlaps=tuple(_read_overlap(item) for item in top.objects("overlaps")),
            checks=read_checks(checks),
            mutable_paths=tuple(read_mutable_path(item) for item in top.objects("mutable_paths")),
            system_packages=top.texts("system_packages"),
            rollback_barrier=top.optional_text("rollback_barrier"),
        )
        safe_relative_path(artifact.tarball_path, what=f"{what}.version")
        if "/" in artifact.version:
            raise InvalidInput(f"{what}.version: {artifact.version!r} cannot stand in a file name")
        _check_tiling(artifact, what)
        return artifact


def _plain(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}


def _checks_value(checks: Checks) -> dict[str, Any]:
    value = _plain(checks)
    if checks.dependencies:
        del value["dependencies"]  # as documents were before there was such a key: equal inputs, equal bytes
    return value


def _needs_value(needs: Needs) -> dict[str, Any]:
    return {**_plain(needs), "libraries": dict(needs.libraries)}


def _read_compression(top: Fields) -> str:
    kind = top.text("compression")
    if kind not in _SUFFIXES:
        raise InvalidInput(f"{top.where}.compression: {kind!r} is neither zstd nor gzip")
    return kind


def _read_layer(item: Fields) -> Layer:
    wheel = item.text("wheel")
    return Layer(
        distribution=item.text("distribution"),
        version=item.text("version"),
        wheel=wheel,
        wheel_sha256=item.sha256("wheel_sha256") if wheel else None,
        offset=item.count("offset"),
        length=item.count("length"),
        sha256=item.sha256("sha256"),
        tar_length=item.count("tar_length"),
        tar_sha256=item.sha256("tar_sha256"),
        members=item.count("members"),
    )


def _read_needs(item: Fields) -> Needs:
    return Needs(
        python=item.text("python"),
        machine=item.text("machine"),
        libc=item.text("libc"),
        libc_version=item.text("libc_version"),
        libraries=item.object("libraries").text_lists(),
    )


def _read_entry_point(item: Fields) -> EntryPoint:
    return EntryPoint(name=item.text("name"), module=item.text("module"), attribute=item.text("attribute"))


def _read_overlap(item: Fields) -> Overlap:
    path = safe_relative_path(item.text("path"), what=f"{item.where}.path")
    return Overlap(path=path, layers=item.counts("layers"))


def read_checks(item: Fields) -> Checks:
    """Read health checks from a manifest's or a spec's field."""
    return Checks(
        imports=item.texts("imports"),
        commands=item.text_matrix("commands"),
        timeout=item.count("timeout") if item.has("timeout") else Checks.timeout,
        user=item.optional_text("user"),
        dependencies=item.flag("dependencies", default=Checks.dependencies),
    )


def read_mutable_path(item: Fields) -> MutablePath:
    """Read one mutable path; the policy is ``keep`` or ``new``."""
    policy = item.optional_text("policy") or "keep"
    if policy not in ("keep", "new"):
        raise InvalidInput(f"{item.where}.policy: {policy!r} is neither 'keep' nor 'new'")
    return MutablePath(path=safe_relative_path(item.text("path"), what=f"{item.where}.path"), policy=policy)


def _check_tiling(artifact: Artifact, what: str) -> None:
    offset = 0
    for index, layer in enumerate(artifact.layers):
        if layer.offset != offset:
            raise InvalidInput(
                f"{what}.layers[{index}].offset: {layer.offset} leaves a gap or overlaps (expected {offset})"
            )
        offset += layer.length
    if offset != artifact.length:
        raise InvalidInput(
            f"{what}.tarball.length: {artifact.length} is not the sum of the layers ({offset})"
        )
    for overlap in artifact.overlaps:
        if len(overlap.layers) < 2 or max(overlap.layers) >= len(artifact.layers):
            raise InvalidInput(f"{what}.overlaps: {overlap.path!r} names layers that do not exist")
