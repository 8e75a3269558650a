"""Every package of a lock becomes a wheel in the cache: taken from it, fetched, or built."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from packaging.utils import parse_wheel_filename

from builder.wheels.cache import CachedWheel
from builder.wheels.download import Downloads, shown_url
from builder.wheels.pages import locked_wheel, tag_rank
from builder.wheels.sources import LockSource
from manifests.documents import Sha256, sha256_file
from manifests.errors import (
    HostUnsuitable,
    InvalidInput,
    NotFound,
    Refused,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)

if TYPE_CHECKING:
    from builder.wheels.cache import Content, WheelCache
    from builder.wheels.sources import Candidate, WheelSource
    from manifests.lock import LockedPackage
    from manifests.target import Target

_T = TypeVar("_T")
_DOWNLOADS = 8
_NOT_IN = "not in "
_UNREACHABLE = "unreachable: "
# Several kinds of problems at once exit as the gravest one.
_GRAVEST_FIRST = (VerificationFailed, InvalidInput, Refused, HostUnsuitable, StoreUnavailable, NotFound)


@dataclass(frozen=True, kw_only=True)
class ResolvedWheel:
    """A wheel to build a layer from. ``pinned`` says that the lock names this very file.

    ``origin`` says where it came from: ``cache``, a source, or ``built``.
    """

    name: str
    version: str
    path: Path
    sha256: Sha256
    filename: str
    origin: str
    pinned: bool


class WheelBuilder(Protocol):
    """Makes wheels of packages that the lock names none for."""

    def cached(self, package: LockedPackage) -> CachedWheel | None:
        """Return the wheel that an earlier build gave, or None."""

    def build(self, package: LockedPackage, sources: Sequence[WheelSource]) -> CachedWheel:
        """Build it, with the sdist from *sources*. Raises NotFound, HostUnsuitable, VerificationFailed."""

    def stop(self) -> None:
        """End all builds at once; the caller was interrupted."""


Progress = Callable[[int, int, str], None]
"""Called in the caller's thread with: wheels at hand, wheels wanted, file name of the last one."""


def resolve_wheels(  # noqa: PLR0913 - what, for which target, from where, into which cache, and how
    packages: Sequence[LockedPackage],
    target: Target,
    sources: Sequence[WheelSource],
    cache: WheelCache,
    *,
    offline: bool = False,
    sdist_builder: WheelBuilder | None = None,
    progress: Progress | None = None,
) -> list[ResolvedWheel]:
    """Return a wheel in *cache* for each of *packages*, in their order.

    Looked at in this order: the cache (by the lock's digest, or by the earlier build), each of
    *sources*, the lock's own URLs, then *sdist_builder*. With *offline*, what needs the network is
    left alone. All problems are collected and raised as one error, one line each: NotFound,
    StoreUnavailable, HostUnsuitable, VerificationFailed.
    """
    with Downloads() as downloads:
        places = sources if offline else [*sources, LockSource(downloads)]
        work = _Resolution(target, places, cache, offline, sdist_builder)
        return _resolve_all(packages, work, progress or _silent)


def _resolve_all(
    packages: Sequence[LockedPackage], work: _Resolution, report: Progress
) -> list[ResolvedWheel]:
    found: dict[int, ResolvedWheel] = {}
    problems: dict[int, VenvoyError] = {}

    def settle(index: int, outcome: ResolvedWheel | VenvoyError | None) -> None:
        if isinstance(outcome, ResolvedWheel):
            found[index] = outcome
            report(len(found), len(packages), outcome.filename)
        elif outcome is not None:
            problems[index] = outcome

    steps = ((work.from_cache, 0), (work.from_sources, _DOWNLOADS), (work.from_sdist, os.cpu_count() or 1))
    for step, threads in steps:
        pending = [index for index in range(len(packages)) if index not in found and index not in problems]
        for index, outcome in _each(step, packages, pending, threads, work.stop):
            settle(index, outcome)
    if problems:
        raise _combined([problems[index] for index in sorted(problems)], len(packages))
    return [found[index] for index in range(len(packages))]


def obtain(
    sources: Sequence[WheelSource],
    find: Callable[[WheelSource], Candidate | None],
    take: Callable[[Candidate, Content], _T],
    tried: list[str],
    *,
    pinned: bool,
) -> tuple[_T, WheelSource] | None:
    """Return what *take* makes of the first candidate that can be had, and its source; else None.

    *tried* collects why not. A source that cannot be reached is passed over, unless the lock does not
    pin the file: another source might then silently give another one. Bytes that are not the lock's
    (VerificationFailed) end the search.
    """
    for source in sources:
        try:
            candidate = find(source)
            if candidate is not None:
                return source.fetch(candidate, partial(take, candidate)), source
            tried.append(f"{_NOT_IN}{source.label}")
        except NotFound as error:
            tried.append(str(error))
        except StoreUnavailable as error:
            if not pinned:
                raise
            tried.append(f"{_UNREACHABLE}{error}")
    return None


def missing(what: str, tried: Sequence[str]) -> NotFound | StoreUnavailable:
    """Return the error for something that no source could give."""
    kind = StoreUnavailable if any(reason.startswith(_UNREACHABLE) for reason in tried) else NotFound
    places = [reason.removeprefix(_NOT_IN) for reason in tried if reason.startswith(_NOT_IN)]
    reasons = [reason for reason in tried if not reason.startswith(_NOT_IN)]
    if places:
        reasons.append(f"{_NOT_IN}{', '.join(places)}")
    return kind(f"{what} cannot be had: {'; '.join(reasons) or 'no source of wheels was given'}")


@dataclass(frozen=True)
class _Resolution:
    target: Target
    sources: Sequence[WheelSource]
    cache: WheelCache
    offline: bool
    builder: WheelBuilder | None

    def from_cache(self, package: LockedPackage) -> ResolvedWheel | None:
        locked = locked_wheel(package)
        if locked is None:
            built = self.builder.cached(package) if self.builder is not None else None
            return None if built is None else _resolved(package, built, "cache", pinned=False)
        self._check_fit(locked.name)
        path = self.cache.get(locked.sha256, locked.name, size=locked.size)
        if path is None:
            return None
        return ResolvedWheel(
            name=package.name,
            version=package.version or _version_of(locked.name),
            path=path,
            sha256=Sha256(locked.sha256),
            filename=locked.name,
            origin="cache",
            pinned=True,
        )

    def from_sources(self, package: LockedPackage) -> ResolvedWheel | None:
        tried = ["offline"] if self.offline else []
        locked = locked_wheel(package)
        found = obtain(
            self._usable,
            lambda source: source.find(package, self.target),
            self._take,
            tried,
            pinned=locked is not None,
        )
        if found is not None:
            wheel, source = found
            return _resolved(package, wheel, source.label, pinned=locked is not None)
        if locked is not None:
            raise missing(locked.name, tried)
        if self.builder is None:
            tried.append("building from source is switched off")
            raise missing(f"a wheel of {package.name} {package.version or ''}".rstrip(), tried)
        return None

    def from_sdist(self, package: LockedPackage) -> ResolvedWheel:
        if self.builder is None:  # from_sources said so; here for the type checker
            raise missing(package.name, [])
        wheel = self.builder.build(package, self._usable)
        self._check_fit(wheel.name)
        return _resolved(package, wheel, "built", pinned=False)

    def stop(self) -> None:
        if self.builder is not None:
            self.builder.stop()

    @property
    def _usable(self) -> list[WheelSource]:
        return [source for source in self.sources if not (self.offline and source.needs_network)]

    def _take(self, candidate: Candidate, content: Content) -> CachedWheel:
        if candidate.sha256 is None and isinstance(content, Path):
            # A local wheel that the lock does not name: usually the very one that is cached already.
            digest = sha256_file(content)
            size = content.stat().st_size
            if (path := self.cache.get(digest, candidate.name, size=size)) is not None:
                return CachedWheel(name=candidate.name, sha256=digest, path=path, size=size)
        origin = shown_url(candidate.location)
        return self.cache.add(content, name=candidate.name, sha256=candidate.sha256, origin=origin)

    def _check_fit(self, name: str) -> None:
        if not name.endswith("-py3-none-any.whl") and tag_rank(name, self.target) is None:
            raise HostUnsuitable(f"{name} does not fit {self.target}; lock it again for this target")


def _each(
    step: Callable[[LockedPackage], ResolvedWheel | None],
    packages: Sequence[LockedPackage],
    indexes: Sequence[int],
    threads: int,
    stop: Callable[[], None],
) -> Iterator[tuple[int, ResolvedWheel | VenvoyError | None]]:
    """Yield what *step* makes of each package, as it comes; errors for an operator are yielded too."""
    if threads == 0 or not indexes:
        yield from ((index, _outcome(step, packages[index])) for index in indexes)
        return
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        futures = {pool.submit(_outcome, step, packages[index]): index for index in indexes}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        stop()  # else Ctrl-C would wait for every compiler that still runs
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(
    step: Callable[[LockedPackage], ResolvedWheel | None], package: LockedPackage
) -> ResolvedWheel | VenvoyError | None:
    try:
        return step(package)
    except VenvoyError as error:
        return error


def _resolved(package: LockedPackage, wheel: CachedWheel, origin: str, *, pinned: bool) -> ResolvedWheel:
    return ResolvedWheel(
        name=package.name,
        version=package.version or _version_of(wheel.name),
        path=wheel.path,
        sha256=wheel.sha256,
        filename=wheel.name,
        origin=origin,
        pinned=pinned,
    )


def _silent(done: int, total: int, name: str) -> None:
    """Report nothing."""


def _version_of(name: str) -> str:
    return str(parse_wheel_filename(name)[1])


def _combined(problems: Sequence[VenvoyError], total: int) -> VenvoyError:
    if len(problems) == 1:
        return problems[0]
    kinds = [type(problem) for problem in problems]
    gravest = next((kind for kind in _GRAVEST_FIRST if kind in kinds), VenvoyError)
    lines = "\n".join(f"  {problem}" for problem in problems)
    return gravest(f"{len(problems)} of {total} wheels cannot be used:\n{lines}")
