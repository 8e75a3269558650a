"""Brings the source of a locked package to a folder: a verified sdist or archive, or a git commit."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.wheels.build_process import Step, git_environment
from builder.wheels.download import shown_url
from builder.wheels.gathering import missing, obtain
from builder.wheels.pages import locked_sdist
from manifests.documents import sha256_file
from manifests.errors import HostUnsuitable, InvalidInput, NotFound, StoreUnavailable, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.wheels.build_process import ProcessRunner
    from builder.wheels.cache import Content, WheelCache
    from builder.wheels.sources import Candidate, WheelSource
    from manifests.lock import LockedFile, LockedPackage, LockedVcs

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class SourceFetcher:
    """Fetches sources into *cache* and unpacks them; git runs under *runner*, logging to *log*."""

    cache: WheelCache
    runner: ProcessRunner
    offline: bool
    timeout: float

    def unpack(self, package: LockedPackage, sources: Sequence[WheelSource], folder: Path, log: Path) -> Path:
        """Put the source of *package* below *folder*; return the project's own folder.

        Raises NotFound, StoreUnavailable, VerificationFailed, and InvalidInput where the lock names
        nothing to build from.
        """
        if package.vcs is not None:
            return self._clone(package, package.vcs, folder, log)
        locked = locked_sdist(package)
        if locked is None:
            raise InvalidInput(f"the lock names nothing to build {package.name} from; lock it again")
        return _unpack_archive(self._sdist(package, locked, sources), folder / "src")

    def fetch(self, package: LockedPackage, sources: Sequence[WheelSource]) -> None:
        """Have the sdist or archive of *package*, if it is built from one, in the cache. Raises as above."""
        locked = locked_sdist(package)
        if package.vcs is None and locked is not None:
            self._sdist(package, locked, sources)

    def _sdist(self, package: LockedPackage, locked: LockedFile, sources: Sequence[WheelSource]) -> Path:
        path = self.cache.get_sdist(locked.sha256, locked.name, size=locked.size)
        if path is not None:
            if sha256_file(path) == locked.sha256:
                return path
            path.unlink(missing_ok=True)  # it rotted; fetch it again

        def take(candidate: Candidate, content: Content) -> Path:
            origin = shown_url(candidate.location)
            return self.cache.add_sdist(content, name=locked.name, sha256=locked.sha256, origin=origin)

        tried = ["offline"] if self.offline else []
        found = obtain(sources, lambda source: source.find_sdist(package), take, tried, pinned=True)
        if found is None:
            raise missing(locked.name, tried)
        return found[0]

    def _clone(self, package: LockedPackage, vcs: LockedVcs, folder: Path, log: Path) -> Path:
        what = f"{package.name} from {shown_url(vcs.url)} at {vcs.commit[:12]}"
        if self.offline:
            raise NotFound(f"{what} cannot be had: offline, and it was not built before")
        source = folder / "src"

        def git(*arguments: str) -> None:
            step = Step(
                what=f"git {arguments[0]} for {what}",
                command=["git", "-c", "advice.detachedHead=false", *arguments],
                environment=git_environment(folder),
                cwd=source if source.is_dir() else folder,
                log=log,
                timeout=self.timeout,
            )
            self.runner.run(step)

        # All commits and tags, since pbr and setuptools_scm compute versions from them; but no contents
        # besides this commit's, where the server can leave them out.
        try:
            git("clone", "--quiet", "--no-checkout", "--filter=blob:none", "--", vcs.url, str(source))
        except HostUnsuitable as error:
            raise StoreUnavailable(str(error)) from None
        try:
            git("checkout", "--quiet", "--detach", vcs.commit)
        except HostUnsuitable:
            try:  # a commit that no branch reaches can still be asked for by name
                git("fetch", "--quiet", "origin", vcs.commit)
                git("checkout", "--quiet", "--detach", vcs.commit)
            except HostUnsuitable:
                raise NotFound(f"{what}: the repository does not have this commit; lock it again") from None
        if (source / ".gitmodules").is_file():
            git("submodule", "update", "--quiet", "--init", "--recursive")
        head = (source / ".git/HEAD").read_text(encoding="ascii").strip()
        if head != vcs.commit:
            raise VerificationFailed(f"{what}: git checked out {head} instead")
        project = source / (vcs.subdirectory or ".")
        if not project.resolve().is_relative_to(source.resolve()) or not project.is_dir():
            raise NotFound(f"{what}: it has no folder {vcs.subdirectory!r}; lock it again")
        return project


def _unpack_archive(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as source:
                source.extractall(folder)  # noqa: S202 - zipfile keeps names below the folder
        else:
            if not hasattr(tarfile, "data_filter"):
                raise HostUnsuitable("unpacking sdists needs Python 3.10.12, 3.11.4 or newer; update it")
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    except _BROKEN as error:
        raise VerificationFailed(f"{archive.name} cannot be unpacked: {error}") from None
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
