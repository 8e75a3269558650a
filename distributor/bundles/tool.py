"""What a bundle holds for bare hosts: Venvoy's host part, its digests, and a script that starts it.

The host part is an artifact like all others, signed by builders. Digests and script are no part of a
store and nothing signs them: they lie below ``tool/``, which stores and importers pass over.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from packaging.version import Version

from distributor.bundles.store import TOOL
from distributor.trust.trust import ARTIFACTS
from manifests.errors import NotFound, Refused
from manifests.naming import HOST_PART, artifact_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact
    from manifests.pins import ReleasePins


def host_parts(trust: Trust, pins: ReleasePins) -> list[Artifact]:
    """Return the host part for each target: as *pins* have it, else the newest version published.

    Raises NotFound where none is published, Refused where it is not clear which one is meant.
    """
    pinned = [trust.manifest(pin) for pin in pins.pins if pin.service == HOST_PART]
    if pinned:
        return pinned
    folder = f"{artifact_directory(HOST_PART)}/"
    newest: dict[str, list[Artifact]] = {}
    for path in sorted(trust.entries(ARTIFACTS)):
        if path.startswith(folder):
            artifact = trust.published(path)
            target = str(artifact.target)
            best = newest.get(target, [])
            if not best or Version(artifact.version) > Version(best[0].version):
                newest[target] = [artifact]
            elif artifact.version == best[0].version:
                best.append(artifact)
    if not newest:
        raise NotFound(
            f"no {HOST_PART} is published in the store: run 'venvoy tool -o DIR' and 'venvoy publish DIR'"
        )
    for target, artifacts in newest.items():
        if len(artifacts) > 1:
            names = ", ".join(artifact.stem for artifact in artifacts)
            raise Refused(
                f"which {HOST_PART} for {target}? There are: {names}; pin one in release {pins.release}"
            )
    return [artifacts[0] for artifacts in newest.values()]


def bootstrap_files(tools: Sequence[Artifact]) -> list[tuple[str, bytes]]:
    """Return names and contents of what a bundle holds beside the host parts *tools*."""
    sums = "".join(f"{tool.sha256}  {tool.tarball_path}\n" for tool in tools)
    script = files("distributor.bundles").joinpath("bootstrap").read_bytes()
    return [(f"{TOOL}SHA256SUMS", sums.encode()), (f"{TOOL}bootstrap", script)]
