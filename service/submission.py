"""A request for a build, checked: nothing of it is kept that could not be built.

What is asked for is named by a digest of everything that decides it, so that equal requests are one build.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.jobs import chosen_jobs
from manifests.documents import digest_of, sha256_bytes
from manifests.errors import InvalidInput, NotFound
from manifests.lock import parse_lock
from manifests.naming import is_unprintable, lock_file_name, safe_relative_path
from manifests.release_spec import parse_release_spec
from manifests.target import Target
from service.state.build import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from manifests.locked_package import LockedPackage
    from manifests.release_spec import ReleaseSpec

SPEC_NAME = "release.toml"
LOCK_DIRECTORY = "locks"
MAX_JOBS = 1000
_ID_DIGITS = 32
_FORMAT = 1
_HOST = re.compile(r"[a-z0-9.:-]+")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is to be built. *blobs* are the bytes of all *inputs*, by sha256."""

    id: str
    release: str
    jobs: tuple[tuple[str, str], ...]
    inputs: Inputs
    blobs: dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What this service takes: *hosts* that locks may name (all where there is none)."""

    hosts: frozenset[str] = frozenset()


def read_submission(  # noqa: PLR0913 - what a request says
    spec: str,
    *,
    locks: Mapping[str, str],
    files: Mapping[str, str],
    services: Sequence[str] = (),
    targets: Sequence[str] = (),
    rules: Rules,
) -> Submission:
    """Check a request and name it.

    Raises InvalidInput (also for a service that the spec lacks) saying what is wrong, with the spec's line
    or the lock's package.
    """
    release = parse_release_spec(_bytes(spec, SPEC_NAME), Path(SPEC_NAME))
    try:
        jobs = chosen_jobs(release, services, [Target.parse(target) for target in targets])
    except NotFound as error:
        raise InvalidInput(str(error)) from None
    if len(jobs) > MAX_JOBS:
        raise InvalidInput(f"{len(jobs)} artifacts are more than one build may have ({MAX_JOBS})")
    names = {lock_file_name(service.name, str(target)): target for service, target in jobs}
    _same_names(locks, names, "locks")
    _same_names(files, _files_of(release), "files")
    inputs = Inputs(
        spec=sha256_bytes(_bytes(spec, SPEC_NAME)),
        locks={name: sha256_bytes(_bytes(text, name)) for name, text in sorted(locks.items())},
        files={name: sha256_bytes(_bytes(text, name)) for name, text in sorted(files.items())},
    )
    _check_constraints(release, rules)
    for name, target in names.items():
        lock = parse_lock(_bytes(locks[name], name), Path(name), target)
        _check_hosts(lock.packages, name, rules)
    pairs = tuple((service.name, str(target)) for service, target in jobs)
    identity = digest_of(
        {
            "format": _FORMAT,
            "spec": inputs.spec,
            "locks": inputs.locks,
            "files": inputs.files,
            "jobs": sorted(list(pair) for pair in pairs),
        }
    )
    texts = [(SPEC_NAME, spec), *locks.items(), *files.items()]
    contents = [_bytes(text, name) for name, text in texts]
    blobs: dict[str, bytes] = {sha256_bytes(content): content for content in contents}
    return Submission(
        id=identity[:_ID_DIGITS], release=release.release, jobs=pairs, inputs=inputs, blobs=blobs
    )


def _files_of(release: ReleaseSpec) -> list[str]:
    """Return the names of files that a build reads besides spec and locks, all below the spec's folder."""
    paths = {
        str(source)
        for service in release.services
        for source in service.build_constraints
        if isinstance(source, Path)
    }
    for path in paths:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise InvalidInput(
                f"{SPEC_NAME}: build-constraints {path!r} lie outside the spec's folder; a service builds "
                "from what is beside the spec alone: put the file there"
            )
        safe_relative_path(path, what="build-constraints")
        if path == SPEC_NAME or path.startswith(f"{LOCK_DIRECTORY}/"):
            raise InvalidInput(f"{SPEC_NAME}: build-constraints {path!r} stands where spec and locks do")
    return sorted(paths)


def _same_names(given: Iterable[str], wanted: Iterable[str], what: str) -> None:
    missing, foreign = set(wanted) - set(given), set(given) - set(wanted)
    if missing:
        raise InvalidInput(f"{what}: the release needs {', '.join(sorted(missing))}, which the request lacks")
    if foreign:
        raise InvalidInput(f"{what}: the release does not need {', '.join(map(repr, sorted(foreign)))}")


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what!r} holds what no UTF-8 text can") from None


def _check_hosts(packages: Iterable[LockedPackage], name: str, rules: Rules) -> None:
    """Refuse locks that would have the service ask hosts that it was not told of."""
    if not rules.hosts:
        return
    for package in packages:
        urls = [file.url for file in (*package.wheels, package.sdist, package.archive) if file and file.url]
        urls += [package.vcs.url] if package.vcs else []
        for url in urls:
            _check_host(url, f"{name}: {package.name}", rules)


def _check_constraints(release: ReleaseSpec, rules: Rules) -> None:
    """Refuse build constraints at hosts that the service was not told of."""
    for service in release.services if rules.hosts else ():
        for source in service.build_constraints:
            if isinstance(source, str):
                _check_host(source, f"{SPEC_NAME}: build-constraints", rules)


def _check_host(url: str, what: str, rules: Rules) -> None:
    host = (urlsplit(url).hostname or "").lower()
    if host not in rules.hosts:
        raise InvalidInput(f"{what} comes from {host or 'nowhere'!r}, which this service does not ask")


def host_name(text: str) -> str:
    """Return *text* if it can name a host in a URL, in lower case. Raises InvalidInput."""
    lowered = text.lower()
    if is_unprintable(text) or not _HOST.fullmatch(lowered):
        raise InvalidInput(f"{text!r} is no host name")
    return lowered
