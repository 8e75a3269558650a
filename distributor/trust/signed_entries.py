"""What a role signs, by path, be it in one document or in hashed bins of which only a few are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from distributor.trust.updater import family

if TYPE_CHECKING:
    from distributor.trust.tuf_api import TargetFile
    from distributor.trust.tuf_client import TufClient


class SignedEntries(Mapping[str, "TargetFile"]):
    """What *role*, and roles that belong to it, sign in the refreshed state of *client*."""

    def __init__(self, client: TufClient, role: str) -> None:
        self._client = client
        self._role = role
        self._all: dict[str, TargetFile] | None = None

    def __getitem__(self, path: str) -> TargetFile:
        if self._all is not None:
            return self._all[path]
        delegate = self._client.delegate_of(path)
        found = self._client.find(path) if delegate is not None and family(delegate) == self._role else None
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._read_all())

    def __len__(self) -> int:
        return len(self._read_all())

    def _read_all(self) -> dict[str, TargetFile]:
        if self._all is None:
            self._all = self._client.find_family(self._role)
        return self._all
