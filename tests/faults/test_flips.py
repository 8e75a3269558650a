"""Every byte flipped, and every length cut, of all that a host reads before it fetches a layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distributor.host.install import install
from distributor.host.request import InstallRequest
from distributor.layers.release_source import StoreReleases
from distributor.stores.directory import DirectoryStore
from manifests.errors import VenvoyError
from tests.faults.conftest import Figure
from tests.faults.scenarios import Kit
from tests.small_site import HOST


class DamagedStore(DirectoryStore):
    """A directory store that gives the object *path* other bytes, and notes what is read."""

    path = ""
    damage: Callable[[bytes], bytes] = staticmethod(lambda data: data)
    lengths: dict[str, int]

    def read(self, path: str, *, limit: int) -> bytes:
        data = super().read(path, limit=limit)
        self.lengths[path] = len(data)
        return self.damage(data) if path == self.path else data


def flipped(position: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    return damage


def cut(length: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:length]


def _install(store: DirectoryStore, kit: Kit, place: Path, name: str) -> None:
    request = InstallRequest(
        service="demo",
        release="1.0.0",
        destination=place / "host/demo",
        evidence=place / "evidence",
        python=HOST.executable,
    )
    state = place / "state" / name
    install(request, lambda: StoreReleases(store, state, kit.site.root.read_bytes()))


@pytest.mark.parametrize("step", [211, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flip_and_cut_of_metadata_is_refused(kit: Kit, quick: Path, figure: Figure, step: int) -> None:
    store = DamagedStore(kit.site.store)
    store.lengths = {}
    (quick / "host").mkdir()
    _install(store, kit, quick / "whole", "whole")
    read = {path: length for path, length in store.lengths.items() if length}
    assert {path.split("/")[0] for path in read} == {"metadata", "pins", "artifacts"}
    accepted, cases = [], 0
    for path, length in read.items():
        store.path = path
        for position in range(0, length, step):
            for kind in (flipped, cut):
                store.damage = kind(position)  # type: ignore[method-assign]
                cases += 1
                try:
                    _install(store, kit, quick, f"{cases}")
                except VenvoyError:
                    continue
                accepted.append(f"{kind.__name__} {path} {position}")
    figure(
        f"{cases} flips and cuts of {len(read)} objects, {sum(read.values())} bytes; {len(accepted)} accepted"
    )
    assert accepted == []
    assert [entry.name for entry in (quick / "host").iterdir()] == [".demo.venvoy-lock"]
