"""Builds wheels of packages that the lock names no wheel for: once for each key, the same bytes each time."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from builder.wheels.build_process import ProcessRunner, Step, build_environment
from builder.wheels.check import check_wheel
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
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from builder.wheels.cache import CachedWheel, WheelCache
    from builder.wheels.sources import WheelSource
    from manifests.interpreter import Interpreter
    from manifests.lock import LockedPackage
    from manifests.target import Target

BUILD_FORMAT = 1
"""Part of every key: raised whenever the same source would give other bytes than before."""

_POLL_SECONDS = 0.1
_BUILD_CONSTRAINT_SINCE = Version("25.3")
_VENV_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build.

    *constraints* is the text of a pip constraints file for build requirements; *find_links* are
    folders (or pages, when online) that offer them. *offline* takes them from there alone.
    """

    constraints: str = ""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    timeout: float = 3600.0


class SdistBuilder:
    """A ``WheelBuilder``: pip in a virtualenv of the target's interpreter, with build isolation."""

    def __init__(
        self,
        cache: WheelCache,
        target: Target,
        interpreter: Interpreter | None,
        options: BuildOptions | None = None,
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
            timeout=self._options.timeout,
        )

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
        with self._cache.temporary_folder() as folder:
            if re.search(r"\s", str(folder)):
                raise InvalidInput(
                    f"compilers cannot build in {folder}: it holds white space; use another cache folder"
                )
            for name in ("home", "tmp", "wheels", "empty"):
                (folder / name).mkdir()
            project = self._fetcher.unpack(package, sources, folder, log)
            built = self._run_pip(label, project, folder, log)
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

    def _run_pip(self, label: str, project: Path, folder: Path, log: Path) -> Path:
        python = self._make_venv(label, folder, log)
        options = self._options
        environment = build_environment(folder, offline=options.offline)
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
        command = [str(python), "-m", "pip", "wheel", "--no-deps", "--no-cache-dir", "--no-input"]
        command += ["--disable-pip-version-check", "--wheel-dir", str(folder / "wheels")]
        command += ["--no-index"] if options.offline else []
        command += [argument for place in options.find_links for argument in ("--find-links", place)]
        if options.constraints:
            constraints = folder / "build-constraints.txt"
            constraints.write_text(options.constraints, encoding="utf-8")
            if _pip_version(python.parent.parent) >= _BUILD_CONSTRAINT_SINCE:
                command += ["--build-constraint", str(constraints)]
            else:
                environment["PIP_CONSTRAINT"] = str(constraints)
        step = Step(
            what=f"building {label} from source",
            command=[*command, str(project)],
            environment=environment,
            cwd=folder / "empty",
            log=log,
            timeout=options.timeout,
        )
        self._runner.run(step)
        wheels = list((folder / "wheels").glob("*.whl"))
        if len(wheels) != 1:
            raise VerificationFailed(f"building {label} gave {len(wheels)} wheels instead of one; see {log}")
        return wheels[0]

    def _make_venv(self, label: str, folder: Path, log: Path) -> Path:
        if self._interpreter is None:
            raise NotFound(f"no {self._target.python_name} to build {label} with")
        venv = folder / "venv"
        command = [sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", "--no-download"]
        command += ["--no-setuptools", "--app-data", str(self._cache.root / "virtualenv")]
        command += ["--python", str(self._interpreter.executable), str(venv)]
        step = Step(
            what=f"making a build environment for {label}",
            command=command,
            environment=build_environment(folder, offline=True),
            cwd=folder / "empty",
            log=log,
            timeout=_VENV_SECONDS,
        )
        self._runner.run(step)
        return venv / "bin/python"

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


def _pip_version(venv: Path) -> Version:
    for path in venv.glob("lib/python*/site-packages/pip-*.dist-info"):
        return Version(path.name.removeprefix("pip-").removesuffix(".dist-info"))
    return Version("0")


if TYPE_CHECKING:
    from builder.wheels.gathering import WheelBuilder

    _: type[WheelBuilder] = SdistBuilder
