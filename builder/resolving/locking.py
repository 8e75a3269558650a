"""Making locks: uv resolves each service for each target, and nothing is resolved ever after.

A lock replaces the one before it only when ``manifests.lock`` could build from it. The lock before
it is uv's preference, so that locking again changes nothing until a requirement does.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.jobs import chosen_jobs, lock_path
from builder.resolving.constraint_files import gather_constraints
from builder.resolving.uv_compile import Compilation, compile_requirements, find_uv, uv_platform
from manifests.atomic_file import write_atomically
from manifests.errors import InvalidInput, StoreUnavailable, VenvoyError
from manifests.lock import locked_versions, parse_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from manifests.release_spec import ReleaseSpec, ServiceSpec
    from manifests.target import Target


@dataclass(frozen=True, kw_only=True)
class LockOptions:
    """How to lock. ``directory`` is where locks lie; None is ``locks`` beside the spec.

    ``upgrade`` ignores the versions of existing locks, ``dry_run`` writes none. The index options
    come before those of uv's environment (UV_DEFAULT_INDEX, UV_INDEX). ``timeout`` is for each lock.
    """

    directory: Path | None = None
    upgrade: bool = False
    offline: bool = False
    dry_run: bool = False
    default_index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    workers: int = 3
    timeout: int = 1800


@dataclass(frozen=True, kw_only=True)
class Change:
    """A distribution whose version differs from the lock before; None where it was or is not there."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"+{self.name} {self.new}"
        return f"-{self.name} {self.old}" if self.new is None else f"{self.name} {self.old} -> {self.new}"


@dataclass(frozen=True, kw_only=True)
class LockResult:
    """A lock that was made. ``written`` says whether its bytes differ from those before."""

    service: str
    target: Target
    path: Path
    written: bool
    packages: int
    changes: tuple[Change, ...]


def lock_service(service: ServiceSpec, spec: ReleaseSpec, target: Target, options: LockOptions) -> LockResult:
    """Make the lock of one service for one target.

    Raises InvalidInput where the requirements cannot be met or the result cannot be built from,
    NotFound for missing constraints or uv, StoreUnavailable where index, network or disk failed.
    The existing lock is then left as it was.
    """
    return lock_release(spec, options, [(service, target)])[0]


def lock_release(
    spec: ReleaseSpec,
    options: LockOptions,
    jobs: Sequence[tuple[ServiceSpec, Target]] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[LockResult, ...]:
    """Make the locks of *jobs* (default: all of *spec*), several at once, and return them in order.

    *progress* is told each step, by one thread at a time. Every lock is tried before the errors of
    those that failed are raised together; see ``lock_service`` for which.
    """
    jobs = list(dict.fromkeys(chosen_jobs(spec) if jobs is None else jobs))
    for _, target in jobs:
        uv_platform(target)
    sources = [source for service, _ in jobs for source in (*service.constraints, *service.build_constraints)]
    told = threading.Lock()

    def tell(message: str) -> None:
        with told:
            progress(message)

    with tempfile.TemporaryDirectory(prefix="venvoy-lock-") as name:
        directory = Path(name).resolve()
        files = gather_constraints(sources, directory, offline=options.offline)
        work = _Work(spec, options, directory, files, tell)
        with ThreadPoolExecutor(max_workers=max(1, options.workers)) as executor:
            futures = [executor.submit(work.lock, service, target) for service, target in jobs]
            try:
                errors = [error for future in futures if (error := future.exception()) is not None]
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
        _raise(errors)
        return tuple(future.result() for future in futures)


class _Work:
    """What all locks of one call share."""

    def __init__(
        self,
        spec: ReleaseSpec,
        options: LockOptions,
        directory: Path,
        files: Mapping[Path | str, Path],
        tell: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._options = options
        self._directory = directory
        self._files = files
        self._tell = tell
        self._uv = find_uv()

    def lock(self, service: ServiceSpec, target: Target) -> LockResult:
        path = lock_path(self._spec, service.name, target, self._options.directory)
        label = f"{self._spec.path}: {service.name} for {target}"
        self._tell(f"{service.name} for {target}: resolving")
        before = _read(path)
        old = self._old_versions(before, path)
        directory = self._directory / path.stem
        directory.mkdir()
        data = self._compile(service, target, directory / path.name, before, label)
        packages = len(parse_lock(data, path, target).packages)
        written = data != before
        if written and not self._options.dry_run:
            _write(path, data)
        changes = _changes(old, locked_versions(data, what=str(path)))
        self._tell(
            f"{service.name} for {target}: {packages} packages, {'changed' if written else 'unchanged'}"
        )
        return LockResult(
            service=service.name,
            target=target,
            path=path,
            written=written,
            packages=packages,
            changes=changes,
        )

    def _old_versions(self, before: bytes | None, path: Path) -> dict[str, str]:
        if before is None:
            return {}
        try:
            return locked_versions(before, what=str(path))
        except InvalidInput as error:
            if self._options.upgrade:
                return {}
            raise InvalidInput(f"{error}; delete it, or make it anew with --upgrade") from None

    def _compile(
        self, service: ServiceSpec, target: Target, output: Path, before: bytes | None, label: str
    ) -> bytes:
        options = self._options
        if before is not None and not options.upgrade:
            output.write_bytes(before)
        requirements = output.with_name("requirements.in")
        requirements.write_text("".join(f"{line}\n" for line in service.requirements), encoding="utf-8")
        shown = {str(local): str(source) for source, local in self._files.items()}
        shown[str(requirements)] = f"the requirements of {service.name}"
        compile_requirements(
            Compilation(
                label=label,
                uv=self._uv,
                directory=output.parent,
                requirements=requirements,
                output=output,
                target=target,
                constraints=tuple(self._files[source] for source in service.constraints),
                build_constraints=tuple(self._files[source] for source in service.build_constraints),
                upgrade=options.upgrade,
                offline=options.offline,
                default_index=options.default_index,
                extra_indexes=options.extra_indexes,
                timeout=options.timeout,
                shown=shown,
            )
        )
        return output.read_bytes()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be written: {error.strerror}") from None


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _raise(errors: Sequence[BaseException]) -> None:
    """Raise *errors* as one: of the first one's kind, with the messages of all."""
    for error in errors:
        if not isinstance(error, VenvoyError):
            raise error
    if errors:
        kind = type(errors[0])
        raise kind("\n".join(str(error) for error in errors))
