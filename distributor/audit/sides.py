"""From what a person names on a command line to a side of a comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.audit.attached import components
from distributor.audit.layer_files import (
    file_text,
    follows_from_others,
    in_file,
    in_store,
    layer_files,
)
from distributor.audit.references import find_artifact
from distributor.publishing.built_files import BuiltFiles, find_built
from distributor.trust.channels import channel, channel_heads
from manifests.artifact import Artifact
from manifests.companions import ListedComponent, licences_of, read_sbom, sbom_path
from manifests.comparison import ComparedArtifact, ComparedPackage, Entry, Key, Side
from manifests.errors import InvalidInput, NotFound, VerificationFailed
from manifests.layout import MANIFEST

if TYPE_CHECKING:
    from distributor.host.status import InstalledVenv
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust
    from manifests.pins import Pin

Opened = Callable[[], tuple["ReadStore", "Trust"]]
"""Opens the store, once, when it is needed: what lies here needs none."""


def open_side(name: str, opened: Opened) -> Side:
    """Return what *name* means.

    A path (with a ``/``, or of something that exists): a manifest, a folder of a build, a venv, or a folder
    of venvs. Else a release or a channel of the store, or the label of an artifact there. Raises NotFound.
    """
    path = Path(name)
    if "/" in name or path.exists():
        return _of_path(path, opened)
    store, trust = opened()
    release = _release(trust, name)
    if release is not None:
        pins = trust.pins(release).pins
        return Side(
            name=name if name == release else f"{release} ({name})",
            entries={(pin.service, pin.target): _pinned(pin, store, trust) for pin in pins},
        )
    try:
        artifact = find_artifact(trust, name)
    except NotFound:
        known = ", ".join(trust.releases()[-5:]) or "none"
        raise NotFound(
            f"{name!r} is no release, channel or artifact of the store (its last releases: {known}); "
            "write ./NAME for a file or folder"
        ) from None
    return Side(
        name=artifact.stem, entries={_key(artifact): _entry(artifact, _from_store(artifact, store, trust))}
    )


def _release(trust: Trust, name: str) -> str | None:
    """Return the release that *name* is, or that a channel of that name means."""
    if name in trust.releases():
        return name
    return channel(trust, name).release if name in channel_heads(trust) else None


def narrowed(side: Side, other: Side) -> Side:
    """Return *side* with the services and targets alone that *other* has, if that one is a host.

    What a host does not run is no difference.
    """
    if not other.host:
        return side
    return replace(side, entries={key: side.entries[key] for key in side.entries if key in other.entries})


def filtered(side: Side, services: Sequence[str], targets: Sequence[str]) -> Side:
    """Return *side* with these *services* and *targets* alone; none named means all."""
    return replace(
        side,
        entries={
            key: entry
            for key, entry in side.entries.items()
            if (not services or key[0] in services) and (not targets or key[1] in targets)
        },
    )


def _of_path(path: Path, opened: Opened) -> Side:
    from distributor.host.status import find_venvs

    if path.is_file():
        built = BuiltFiles.of(path)
        return Side(name=built.artifact.stem, entries={_key(built.artifact): _built(built)})
    if not path.is_dir():
        raise NotFound(f"{path} does not exist; name a manifest, a folder of a build, or venvs")
    if any(path.glob("**/artifacts/*/*.json")):
        found = find_built([path])
        return Side(name=str(path), entries={_key(built.artifact): _built(built) for built in found})
    venvs = find_venvs([path])
    if not venvs:
        raise NotFound(f"{path} holds neither artifacts of a build nor venvs of Venvoy")
    return Side(name=str(path), entries=_installed(venvs, opened), host=True)


def _key(artifact: Artifact) -> Key:
    return artifact.service, str(artifact.target)


def _entry(artifact: Artifact, read: Callable[[], ComparedArtifact]) -> Entry:
    return Entry(identity=artifact.identity, version=artifact.version, read=read)


def _pinned(pin: Pin, store: ReadStore, trust: Trust) -> Entry:
    """Return the entry of *pin*: its digest tells it from others, and only then is its manifest read."""

    def read() -> ComparedArtifact:
        return _from_store(trust.manifest(pin), store, trust)()

    return Entry(identity=pin.sha256, version=pin.version, read=read)


def _from_store(artifact: Artifact, store: ReadStore, trust: Trust) -> Callable[[], ComparedArtifact]:
    def read() -> ComparedArtifact:
        files = functools.partial(layer_files, artifact, chunks=in_store(store, artifact))
        return _compared(artifact, components(trust, artifact), files)

    return read


def _built(built: BuiltFiles) -> Entry:
    def read() -> ComparedArtifact:
        data = built.sbom()
        listed = read_sbom(data, what=sbom_path(built.artifact)) if data is not None else {}
        files = functools.partial(layer_files, built.artifact, chunks=in_file(built.tarball))
        return _compared(built.artifact, listed, files)

    return _entry(built.artifact, read)


def _installed(venvs: Sequence[InstalledVenv], opened: Opened) -> dict[Key, Entry]:
    entries: dict[Key, Entry] = {}
    linked = {venv.receipt.service for venv in venvs if venv.links}
    for venv in venvs:
        if venv.receipt.service in linked and not venv.links:
            continue  # of several, the one that a link leads to is in use
        path = venv.path / MANIFEST
        try:
            artifact = Artifact.from_json(path.read_bytes(), what=str(path))
        except (OSError, InvalidInput) as error:
            raise VerificationFailed(f"{path} cannot be read: {error}; install with --repair") from None
        if _key(artifact) in entries:
            raise InvalidInput(
                f"several venvs of {artifact.service} are there: name one of them, as {venv.path}"
            )
        entries[_key(artifact)] = Entry(
            identity=venv.receipt.manifest_sha256,
            version=artifact.version,
            read=functools.partial(_read_installed, venv, artifact, opened),
        )
    return entries


def _read_installed(venv: InstalledVenv, artifact: Artifact, opened: Opened) -> ComparedArtifact:
    from distributor.host.installed_tree import expected_files

    def files(names: Iterable[str]) -> dict[str, str]:
        """Every file of the venv that the layers *names* brought, by their indexes."""
        found = expected_files(venv.path, venv.receipt, only=frozenset(names))
        return {
            path: f"-> {item.content}"
            if item.kind == "l"
            else file_text(executable=item.kind == "x", size=item.size, sha256=item.content)
            for path, item in found.items()
            if not follows_from_others(path)
        }

    return _compared(artifact, _listed_if_known(artifact, opened), files)


def _listed_if_known(artifact: Artifact, opened: Opened) -> dict[str, ListedComponent]:
    """Return what the store's bill of *artifact* lists; a host's venv has none of its own."""
    try:
        _, trust = opened()
    except InvalidInput:  # no store is named, and none is needed
        return {}
    return components(trust, artifact)


def _compared(
    artifact: Artifact,
    listed: Mapping[str, ListedComponent],
    files: Callable[[Iterable[str]], Mapping[str, str]],
) -> ComparedArtifact:
    return ComparedArtifact(
        label=artifact.stem,
        service=artifact.service,
        target=str(artifact.target),
        version=artifact.version,
        length=artifact.length,
        unpacked=artifact.unpacked_size,
        packages={
            layer.distribution: ComparedPackage(
                version=layer.version,
                wheel_sha256=layer.wheel_sha256 or "",
                length=layer.length,
                unpacked=layer.tar_length,
                licence=licences_of(listed, layer.distribution),
            )
            for layer in artifact.layers
            if layer.wheel
        },
        needs=_needs(artifact),
        rollback_barrier=artifact.rollback_barrier,
        files=files,
    )


def _needs(artifact: Artifact) -> dict[str, tuple[str, ...]]:
    needs = artifact.needs
    return {needs.libc: (needs.libc_version,), "python": (needs.python,), **needs.libraries}
