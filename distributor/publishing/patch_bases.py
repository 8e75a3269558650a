"""From what patches are made unless somebody says otherwise: from what hosts have now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from distributor.trust.channels import channels
from manifests.errors import NotFound

if TYPE_CHECKING:
    from distributor.trust.trust import Trust
    from manifests.artifact import Artifact
    from manifests.pins import ReleasePins


def default_bases(trust: Trust, new: Artifact) -> list[Artifact]:
    """Return what hosts have of the service and target of *new*.

    That is what the channels pin now; where no channel has the service, what the newest release that
    pins it does.
    """
    releases = dict.fromkeys(move.release for move in channels(trust).values())
    found = [old for release in releases for old in pinned(trust.pins(release), trust, new)]
    if found:
        return found
    for release in sorted(trust.releases(), key=_order, reverse=True):
        if bases := pinned(trust.pins(release), trust, new):
            return bases
    return []


def pinned(pins: ReleasePins, trust: Trust, new: Artifact) -> list[Artifact]:
    """Return what *pins* have of the service and target of *new*: nothing, or one artifact."""
    try:
        return [trust.manifest(pin) for pin in pins.find(new.service, str(new.target))]
    except NotFound:
        return []


def _order(release: str) -> tuple[bool, Version, str]:
    """Return what sorts names of releases: versions by PEP 440, after all other names."""
    try:
        return True, Version(release), release
    except InvalidVersion:
        return False, Version("0"), release
