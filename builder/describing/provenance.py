"""How an artifact came to be: an in-toto statement with SLSA provenance, one for each build."""

from __future__ import annotations

import platform
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from packageurl import PackageURL

from manifests import __version__
from manifests.companions import PREDICATE_TYPE, STATEMENT_TYPE
from manifests.documents import Sha256, canonical_json, sha256_bytes

if TYPE_CHECKING:
    from builder.pipeline import ServiceBuild
    from manifests.artifact import Artifact

BUILD_TYPE = "urn:venvoy:build:1"
"""What the parameters below mean: a release spec's service and its lock become a tarball of layers."""
_TOOLS = ("installer", "virtualenv", "uv", "wheel", "zstandard", "cyclonedx-python-lib")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRun:
    """One run of the builder: which release it builds, who it is, when it began, and the run's own id.

    ``builder`` is a URI that names the machine or service, ``started`` is in UTC.
    """

    release: str
    builder: str
    started: datetime
    invocation: str

    @classmethod
    def now(cls, release: str, builder: str | None) -> BuildRun:
        """Return the run that begins now; a *builder* without a name is called by its host."""
        return cls(
            release=release,
            builder=builder or f"urn:venvoy:builder:{socket.gethostname()}",
            started=datetime.now(timezone.utc),
            invocation=f"urn:uuid:{uuid.uuid4()}",
        )


def statement(
    run: BuildRun,
    build: ServiceBuild,
    artifact: Artifact,
    lock: tuple[str, Sha256],
    options: Mapping[str, Any],
) -> bytes:
    """Return the statement that *run* made *artifact* of *build*.

    *lock* is the lock's file name and digest, *options* what else the builder was told.
    """
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": _subjects(artifact),
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "release": run.release,
                        "service": artifact.service,
                        "target": str(artifact.target),
                        "requirements": list(build.service.requirements),
                        "lock": lock[0],
                    },
                    "internalParameters": {"identity": artifact.identity, **options},
                    "resolvedDependencies": _inputs(build, lock),
                },
                "runDetails": {
                    "builder": {"id": run.builder, "version": _versions()},
                    "metadata": {
                        "invocationId": run.invocation,
                        "startedOn": _time(run.started),
                        "finishedOn": _time(datetime.now(timezone.utc)),
                    },
                },
            },
        }
    )


def _subjects(artifact: Artifact) -> list[dict[str, Any]]:
    manifest = sha256_bytes(artifact.to_json())
    return [
        {"name": artifact.tarball_path, "digest": {"sha256": artifact.sha256}},
        {"name": artifact.manifest_path.removesuffix(".gz"), "digest": {"sha256": manifest}},
    ]


def _inputs(build: ServiceBuild, lock: tuple[str, Sha256]) -> list[dict[str, Any]]:
    inputs: list[dict[str, Any]] = [
        {
            "name": lock[0],
            "uri": f"file:{lock[0]}",
            "digest": {"sha256": lock[1]},
            "mediaType": "application/toml",
        }
    ]
    for wheel in build.wheels:
        purl = PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.filename})
        inputs.append(
            {
                "name": wheel.filename,
                "uri": purl.to_string(),
                "digest": {"sha256": wheel.sha256},
                "annotations": {"pinned": wheel.pinned},
            }
        )
    if build.interpreter is not None:
        inputs.append(
            {"name": build.target.python_name, "uri": f"pkg:generic/python@{build.interpreter.version}"}
        )
    return inputs


def _versions() -> dict[str, str]:
    found = {"venvoy": __version__, "python": platform.python_version()}
    return found | _installed(_TOOLS)


def _installed(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
