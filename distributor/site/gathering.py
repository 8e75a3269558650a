"""From a verified store to what the pages show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from distributor.audit.contents import ContentsReader
from distributor.site.model import Channel, PinnedArtifact, Release, SiteModel
from distributor.trust.channels import channels, moves
from manifests.release_order import in_order

if TYPE_CHECKING:
    from distributor.stores.interface import ReadStore
    from distributor.trust.trust import Trust
    from manifests.documents import Sha256

_MOVES = 200
_FIRST = {"stable": 0, "candidate": 1}
Progress = Callable[[str, int, int], None]
"""Called with a step, how much of it is done, and how much there is."""


def gather(
    store: ReadStore,
    trust: Trust,
    *,
    shown_store: str,
    progress: Progress = lambda *_: None,
) -> SiteModel:
    """Return what *store* holds, as *trust*, which is refreshed, allows. Manifests are not read here.

    *shown_store* is how hosts name the store. Raises what reading raises.
    """
    reader = ContentsReader(store, trust)
    artifacts: dict[Sha256, PinnedArtifact] = {}
    releases = []
    names = in_order(trust.releases())
    for count, name in enumerate(names):
        progress("releases", count, len(names))
        pins = trust.pins(name)
        contents = reader.contents(pins).artifacts
        mine = {}
        for pin in sorted(pins.pins, key=lambda pin: (pin.service, pin.target)):
            artifact = artifacts.get(pin.sha256)
            if artifact is None:
                artifact = PinnedArtifact(
                    label=pin.manifest.rpartition("/")[2].removesuffix(".json.gz"),
                    service=pin.service,
                    target=pin.target,
                    version=pin.version,
                    manifest=pin.manifest,
                    manifest_sha256=pin.sha256,
                    manifest_length=pin.length,
                    contents=contents[pin.service, pin.target],
                )
                artifacts[pin.sha256] = artifact
            artifact.releases.append(name)
            mine[pin.service, pin.target] = artifact
        releases.append(Release(name=name, artifacts=mine))
    return SiteModel(store=shown_store, releases=releases, channels=_channels(trust))


def _channels(trust: Trust) -> list[Channel]:
    """Return where the channels stand; of a long history the newest moves."""
    found = []
    for name in channels(trust):
        history = tuple(islice(moves(trust, name), _MOVES))
        found.append(Channel(name=name, release=history[0].release, moves=history))
    return sorted(found, key=lambda channel: (_FIRST.get(channel.name, len(_FIRST)), channel.name))
