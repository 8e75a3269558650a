"""What differs between two sets of artifacts: services, packages, versions, licences, sizes, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from manifests.companions import UNKNOWN_LICENCE
from manifests.documents import Sha256

Key = tuple[str, str]
"""A service and a target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedPackage:
    """A package as one artifact has it; lengths are its layer's bytes, packed and not."""

    version: str
    wheel_sha256: str
    length: int
    unpacked: int
    licence: str = UNKNOWN_LICENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedArtifact:
    """An artifact as it is compared. ``files`` reads its files: path to what each is, as one string."""

    label: str
    service: str
    target: str
    version: str
    length: int
    unpacked: int
    packages: Mapping[str, ComparedPackage]
    needs: Mapping[str, tuple[str, ...]]
    rollback_barrier: str | None
    files: Callable[[Iterable[str]], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An artifact that a side holds, and how to read it. Equal identities are one artifact."""

    identity: Sha256
    version: str
    read: Callable[[], ComparedArtifact]


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of two things that are compared: its name for people, and its artifacts, or a ``host``'s."""

    name: str
    entries: Mapping[Key, Entry]
    host: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageChange:
    """A package that differs; None where a side does not have it."""

    name: str
    old: ComparedPackage | None
    new: ComparedPackage | None

    @property
    def licence_changes(self) -> bool:
        """Whether both sides say a licence, and not the same."""
        known = [side.licence for side in (self.old, self.new) if side is not None]
        return len(set(known)) == 2 and UNKNOWN_LICENCE not in known

    @property
    def growth(self) -> int:
        """How many bytes its layer is longer."""
        return (self.new.length if self.new else 0) - (self.old.length if self.old else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChange:
    """A file that differs; "" where a side does not have it, else size and digest, or a link's target."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NeedChange:
    """A need of the host that differs: a library with the symbol versions used of it, or libc or python."""

    name: str
    old: tuple[str, ...] | None
    new: tuple[str, ...] | None

    @property
    def asks_more(self) -> tuple[str, ...] | None:
        """What a host must offer beyond what it did before; None where that is nothing."""
        added = tuple(version for version in self.new or () if version not in (self.old or ()))
        return added if added or (self.old is None and self.new is not None) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactChange:
    """A service on a target that differs; None where a side does not have it."""

    service: str
    target: str
    old: ComparedArtifact | None
    new: ComparedArtifact | None
    packages: tuple[PackageChange, ...] = ()
    files: tuple[FileChange, ...] | None = None
    needs: tuple[NeedChange, ...] = ()

    @property
    def growth(self) -> int:
        """How many bytes its tarball is longer."""
        return (self.new.length if self.new else 0) - (self.old.length if self.old else 0)

    @property
    def crosses_barrier(self) -> bool:
        """Whether going back from new to old passes a rollback barrier."""
        both = self.old is not None and self.new is not None
        return both and self.old.rollback_barrier != self.new.rollback_barrier  # type: ignore[union-attr]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything that differs between the sides named ``old`` and ``new``, by service and target."""

    old: str
    new: str
    changes: tuple[ArtifactChange, ...]
    unchanged: tuple[Key, ...]


def compare(
    old: Side,
    new: Side,
    *,
    files: bool = False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Comparison:
    """Return what differs between *old* and *new*; equal artifacts are not read.

    Two sides of one artifact each are compared whatever their services. With *files* the files of
    packages that differ are read too.
    """
    same = []
    changes = []
    pairs = _pairs(old, new)
    for count, (key, (one, two)) in enumerate(pairs.items()):
        progress(count, len(pairs), key[0])
        if one is not None and two is not None and one.identity == two.identity:
            same.append(key)
            continue
        before, after = one.read() if one else None, two.read() if two else None
        if before is not None and after is not None and _is_same(before, after):
            same.append(key)
        else:
            changes.append(_change(key, before, after, files=files))
    return Comparison(old=old.name, new=new.name, changes=tuple(changes), unchanged=tuple(same))


def _is_same(old: ComparedArtifact, new: ComparedArtifact) -> bool:
    """Whether two are one artifact: its label holds the digest of all inputs."""
    return (old.label, old.length, old.unpacked) == (new.label, new.length, new.unpacked)


def _pairs(old: Side, new: Side) -> dict[Key, tuple[Entry | None, Entry | None]]:
    if len(old.entries) == len(new.entries) == 1:
        key = next(iter(new.entries))
        return {key: (next(iter(old.entries.values())), new.entries[key])}
    keys = sorted(old.entries.keys() | new.entries.keys())
    return {key: (old.entries.get(key), new.entries.get(key)) for key in keys}


def _change(
    key: Key, old: ComparedArtifact | None, new: ComparedArtifact | None, *, files: bool
) -> ArtifactChange:
    before, after = (side.packages if side else {} for side in (old, new))
    packages = tuple(
        PackageChange(name=name, old=before.get(name), new=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )
    if old is None or new is None:
        return ArtifactChange(service=key[0], target=key[1], old=old, new=new, packages=packages)
    return ArtifactChange(
        service=key[0],
        target=key[1],
        old=old,
        new=new,
        packages=packages,
        files=_file_changes(old, new, packages) if files else None,
        needs=tuple(
            NeedChange(name=name, old=old.needs.get(name), new=new.needs.get(name))
            for name in sorted(old.needs.keys() | new.needs.keys())
            if old.needs.get(name) != new.needs.get(name)
        ),
    )


def _file_changes(
    old: ComparedArtifact, new: ComparedArtifact, packages: Iterable[PackageChange]
) -> tuple[FileChange, ...]:
    differing = list(packages)
    before = old.files([change.name for change in differing if change.old is not None])
    after = new.files([change.name for change in differing if change.new is not None])
    return tuple(
        FileChange(path=path, old=before.get(path, ""), new=after.get(path, ""))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )
