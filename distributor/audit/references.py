"""From what a person calls an artifact to its verified manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound
from manifests.naming import artifact_directory, safe_relative_path

if TYPE_CHECKING:
    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact

_ENDINGS = (".json.gz", ".tar.zst", ".tar.gz")


def find_artifact(trust: Trust, name: str) -> Artifact:
    """Return the published artifact that *name* means: its label, or the path of one of its files.

    Raises NotFound where builders signed no such artifact.
    """
    stem = name.rpartition("/")[2]
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    try:
        safe_relative_path(stem, what="artifact")
    except InvalidInput:
        raise NotFound(f"{name!r} cannot name an artifact") from None
    # A label is <service>-<version>-...; both may hold dashes, so each dash may end the service's name.
    parts = stem.split("-")
    for count in range(1, len(parts)):
        service = "-".join(parts[:count])
        try:
            return trust.published(f"{artifact_directory(service)}/{stem}.json.gz")
        except NotFound:
            continue
    raise NotFound(f"no artifact {name} is published here; 'venvoy show RELEASE' prints the labels")


def pinned_artifact(trust: Trust, service: str, release: str, target: str | None) -> Artifact:
    """Return the artifact of *service* in *release*, which has only one of it where *target* is None."""
    pins = trust.pins(release).find(service, target)
    if len(pins) > 1:
        targets = ", ".join(sorted(pin.target for pin in pins))
        raise InvalidInput(f"release {release} has {service} for several targets: name one of {targets}")
    return trust.manifest(pins[0])
