"""Writing much at once, in stores that sync what they write."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from distributor.stores.directory import DirectoryStore

if TYPE_CHECKING:
    from distributor.stores.interface import Store


def in_bulk(store: Store) -> contextlib.AbstractContextManager[None]:
    """Return a block at whose end all that it wrote into *store* is on disk, by one sync where it syncs.

    Nothing may rely on what is written before that: see ``DirectoryStore.together``.
    """
    return store.together() if isinstance(store, DirectoryStore) else contextlib.nullcontext()
