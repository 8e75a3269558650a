"""Builds wheels of packages that the lock names no wheel for: once for each key, the same bytes each time."""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from builder.sandbox.cage import SandboxMode, choose_cage
from builder.sandbox.limits import BuildLimits
from builder.wheels.build_process import ProcessRunner
from builder.wheels.check import check_wheel
from builder.wheels.isolated_build import IsolatedBuild
from builder.wheels.normalise import normalise_wheel
from builder.wheels.pages import locked_sdist
from builder.wheels.sdist_source import SourceFetcher
from manifests.documents import Sha256, digest_of
from manifests.errors import (
    HostUnsuitable,
    InvalidInput,
    NotFound,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.wheels.cache import CachedWheel, WheelCache
    from builder.wheels.sources import WheelSource
    from manifests.interpreter import Interpreter
    from manifests.lock import LockedPackage
    from manifests.target import Target

BUILD_FORMAT = 1
"""Part of every key: raised whenever the same source would give other bytes than before."""

_POLL_SECONDS = 0.1
_LIMITS = BuildLimits()


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build.

    *constraints* is the text of a pip constraints file for build requirements; *find_links* are
    folders (or pages, when online) that offer them. *offline* takes them from there alone. Code of the
    sdist may use the network only where *network* says so, and never more than *limits*.
    """

    constraints: str = ""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    network: bool = False
    limits: BuildLimits = _LIMITS
    sandbox: SandboxMode = "auto"


class SdistBuilder:
    """A ``WheelBuilder``: builds in an environment of the target's interpreter, in a sandbox.

    *warn* is told once where there is none.
    """

    def __init__(
        self,
        cache: WheelCache,
        target: Target,
        interpreter: Interpreter | None,
        options: BuildOptions | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._cache = cache
        self._target = target
        self._interpreter = interpreter
        self._options = options or BuildOptions()
        self._runner = ProcessRunner()
        self._fetcher = SourceFetcher(
            cache=cache,
            runner=self._runner,
            offline=self._options.offline,
            timeout=float(self._options.limits.time),
        )
        self._warned = False
        self._tell = warn

    def key(self, package: LockedPackage) -> Sha256:
        """Return the digest of all that decides the wheel: source, interpreter, libc, constraints.

        Raises NotFound where there is no interpreter, InvalidInput where there is no source.
        """
        python = self._suitable(package)
        source: dict[str, str | None]
        if package.vcs is not None:
            source = {
                "url": package.vcs.url,
                "commit": package.vcs.commit,
                "subdirectory": package.vcs.subdirectory,
            }
        elif (locked := locked_sdist(package)) is not None:
            source = {"sha256": locked.sha256}
        else:
            raise InvalidInput(f"the lock names nothing to build {package.name} from; lock it again")
        return digest_of(
            {
                "format": BUILD_FORMAT,
                "source": source,
                "python": f"{python.version}{python.abi_flags}",
                "machine": python.machine,
                "libc": python.libc,
                "constraints": self._options.constraints,
                **({"network": True} if self._options.network else {}),
            }
        )

    def cached(self, package: LockedPackage) -> CachedWheel | None:
        """Return the wheel that an earlier build with the same key gave, or None."""
        try:
            return self._cache.built(self.key(package))
        except (NotFound, HostUnsuitable):
            return None  # said by build(), where it matters

    def build(self, package: LockedPackage, sources: Sequence[WheelSource]) -> CachedWheel:
        """Build *package*, or wait for whoever builds it already.

        Raises NotFound (interpreter, sdist or commit), StoreUnavailable, HostUnsuitable where the
        build fails here, VerificationFailed where the wheel is not whole, not of this package, or
        holds the path of its build directory.
        """
        key = self.key(package)
        with self._exclusive(key):
            return self._cache.built(key) or self._build(package, key, sources)

    def fetch_source(self, package: LockedPackage, sources: Sequence[WheelSource]) -> None:
        """Have the sdist or archive of *package* in the cache, for whoever builds; commits are cloned there.

        Raises NotFound, StoreUnavailable, VerificationFailed.
        """
        self._fetcher.fetch(package, sources)

    def stop(self) -> None:
        """End all builds at once; for an interrupted caller."""
        self._runner.stop()

    def _build(self, package: LockedPackage, key: Sha256, sources: Sequence[WheelSource]) -> CachedWheel:
        label = f"{package.name} {package.version or ''}".rstrip()
        log = self._cache.built_path(key, ".log")
        log.write_bytes(b"")
        cage = choose_cage(self._options.sandbox)
        if cage.warning is not None:
            self._warn(cage.warning)
        with self._cache.temporary_folder() as folder:
            if re.search(r"\s", str(folder)):
                raise InvalidInput(
                    f"compilers cannot build in {folder}: it holds white space; use another cache folder"
                )
            inside = IsolatedBuild.prepare(folder)
            project = self._fetcher.unpack(package, sources, inside, log)
            build = IsolatedBuild(
                label=label,
                folder=folder,
                log=log,
                interpreter=self._suitable(package),
                app_data=self._cache.root / "virtualenv",
                options=self._options,
                runner=self._runner,
                cage=cage,
            )
            built = build.run(project)
            origin = f"the build of {label}"
            check_wheel(built, origin=origin)
            self._check_portable(built.name)
            _check_identity(built.name, package)
            output = folder / built.name
            paths = {os.fsencode(folder), os.fsencode(folder.resolve())}
            normalise_wheel(built, output, forbidden=paths)
            wheel = self._cache.add(output, name=output.name, sha256=None, origin=origin)
        self._cache.note_built(key, wheel)
        return wheel

    def _warn(self, warning: str) -> None:
        if self._tell is not None and not self._warned:
            self._warned = True
            self._tell(warning)

    def _suitable(self, package: LockedPackage) -> Interpreter:
        target, found = self._target, self._interpreter
        if found is None:
            raise NotFound(
                f"{package.name} must be built from source, and no {target.python_name} was found to do it "
                "with; install it, or add its wheel to a source of wheels"
            )
        if not found.fits(target):
            raise HostUnsuitable(
                f"{package.name} must be built from source, and {found} cannot build for {target}; "
                f"name a {target.python_name} with --python"
            )
        return found

    def _check_portable(self, wheel: str) -> None:
        """Refuse what another machine built, unless it is for any machine."""
        found = self._interpreter
        if found is not None and not found.is_native(self._target) and not wheel.endswith("-none-any.whl"):
            raise HostUnsuitable(
                f"{wheel} was built by {found}, which is no {self._target}; build it on such a machine, "
                "or add its wheel to a source of wheels"
            )

    @contextmanager
    def _exclusive(self, key: Sha256) -> Iterator[None]:
        """Hold the key's lock. The kernel drops it with its owner, so a killed build blocks nobody."""
        path = self._cache.built_path(key, ".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be locked: {error.strerror}") from None
        try:
            while not _try_lock(descriptor):
                if self._runner.stopped.is_set():
                    raise VenvoyError("waiting for another build was interrupted")
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_identity(wheel: str, package: LockedPackage) -> None:
    name, version, *_ = parse_wheel_filename(wheel)
    if name != package.name or (package.version is not None and version != Version(package.version)):
        wanted = f"{package.name} {package.version or ''}".rstrip()
        raise VerificationFailed(f"the source that the lock names for {wanted} built {wheel}; lock it again")


if TYPE_CHECKING:
    from builder.wheels.gathering import WheelBuilder

    _: type[WheelBuilder] = SdistBuilder
