"""A release's contents: stored beside its pins, bound by them, and read back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distributor.trust.gzipped import compress
from manifests.contents import ReleaseContents, contents_path
from manifests.documents import sha256_bytes
from manifests.errors import NotFound

if TYPE_CHECKING:
    from distributor.stores.interface import Store
    from distributor.trust.trust import Trust
    from manifests.pins import ReleasePins


def with_contents(trust: Trust, document: ReleasePins) -> tuple[ReleasePins, ReleaseContents]:
    """Return *document* with its barriers and the digest of what it pins, and the contents themselves.

    Where the same pins are signed already, with or without contents, those stand.
    """
    artifacts = [trust.manifest(pin) for pin in document.pins]
    contents = ReleaseContents.of(document.release, artifacts)
    try:
        present = trust.pins(document.release)
    except NotFound:
        present = None
    if present is not None and set(present.pins) == set(document.pins):
        return present, contents
    barriers = {item.service: item.rollback_barrier for item in artifacts if item.rollback_barrier}
    return replace(document, contents=sha256_bytes(contents.to_json()), barriers=barriers), contents


def store_contents(store: Store, document: ReleasePins, contents: ReleaseContents) -> None:
    """Bring *contents* into *store* if *document* names them. The name holds their digest."""
    if document.contents is not None:
        store.write_if_absent(
            contents_path(document.release, document.contents), compress(contents.to_json())
        )
