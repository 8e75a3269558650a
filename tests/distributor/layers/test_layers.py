"""The host's layers: kept whole, verified at each use, dropped when they are old."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from distributor.layers.cache import LayerCache, OpenedLayer, through_cache, verified_bytes
from distributor.system.unnamed import give_name, unnamed_file
from manifests.artifact import Layer
from manifests.documents import Sha256, sha256_bytes
from manifests.errors import VerificationFailed
from tests.distributor.hostile import streamed

LARGE = 9 * 1024 * 1024  # more than is held in memory


def layer(data: bytes) -> Layer:
    digest = sha256_bytes(data)
    return Layer(
        distribution="demo",
        version="1",
        wheel="demo-1-py3-none-any.whl",
        wheel_sha256=digest,
        offset=0,
        length=len(data),
        sha256=digest,
        tar_length=0,
        tar_sha256=Sha256("0" * 64),
        members=0,
    )


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "fetched-layers").glob("*/*"))


@pytest.fixture(params=["unnamed files", "named ones only"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and without, as on older overlay file systems."""
    if request.param == "named ones only":
        real = os.open

        def without(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(path))
            return real(path, flags, *arguments, **options)

        monkeypatch.setattr(os, "open", without)
    return str(request.param)


@pytest.mark.parametrize("size", [0, 1, 100_000, LARGE])
@pytest.mark.usefixtures("file_system")
def test_what_was_fetched_once_is_not_fetched_again(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    wanted = layer(data)
    asked = []

    def source(item: Layer) -> list[bytes]:
        asked.append(item)
        return [data]

    open_layer = through_cache(streamed(source), LayerCache(tmp_path))
    for fetched in (size, 0):
        opened = open_layer(wanted, tmp_path)
        assert opened.file.read() == data
        assert opened.fetched == fetched
        opened.file.close()
    assert len(asked) == 1
    (only,) = kept(tmp_path)
    assert only.read_bytes() == data
    assert only.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [1000, LARGE])
def test_every_damage_is_noticed_and_removed(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    wanted, cache = layer(data), LayerCache(tmp_path)
    for damaged in (b"", data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:], data[:-1] + b"\0"):
        if damaged == data:
            continue
        path = cache.folder(wanted) / wanted.sha256
        path.write_bytes(damaged)
        assert cache.find(wanted) is None
        assert not path.exists()


def test_a_link_in_the_cache_leads_nowhere(tmp_path: Path) -> None:
    data = b"content"
    wanted, cache = layer(data), LayerCache(tmp_path)
    outside = tmp_path / "outside"
    outside.write_bytes(data)
    (cache.folder(wanted) / wanted.sha256).symlink_to(outside)
    assert cache.find(wanted) is None
    assert outside.read_bytes() == data


def test_wrong_bytes_are_never_kept(tmp_path: Path) -> None:
    wanted = layer(b"right")
    with pytest.raises(VerificationFailed):
        through_cache(streamed(lambda _: [b"wrong"]), LayerCache(tmp_path))(wanted, tmp_path)
    assert kept(tmp_path) == []


def test_a_full_disk_costs_the_copy_and_not_the_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("distributor.layers.cache.give_name", full)
    opened = through_cache(streamed(lambda _: [b"bytes"]), LayerCache(tmp_path))(layer(b"bytes"), tmp_path)
    assert opened.file.read() == b"bytes"
    assert kept(tmp_path) == []


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path)
    made = [layer(bytes([number]) * 1000) for number in range(4)]
    for number, item in enumerate(made):
        with verified_bytes(item, iter([bytes([number]) * 1000]), cache.folder(item)) as held:
            cache.keep(item, OpenedLayer(held, 1000))
        os.utime(cache.folder(item) / item.sha256, (number, number))
    found = cache.find(made[0])  # used again: now the youngest
    assert found is not None
    assert cache.shrink(2000) == 2000
    assert [cache.has(item) for item in made] == [True, False, False, True]


def test_leavings_of_killed_writers_go_when_they_are_a_day_old(tmp_path: Path) -> None:
    folder = LayerCache(tmp_path).folder(layer(b""))
    old, young = folder / f".tmp-{'a' * 16}", folder / f".tmp-{'b' * 16}"
    for path, age in ((old, 2 * 86400), (young, 0)):
        path.touch()
        os.utime(path, (path.stat().st_atime - age,) * 2)
    LayerCache(tmp_path).shrink(0)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.usefixtures("file_system")
def test_the_first_to_name_a_file_wins(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for content in (b"first", b"first"):
        with unnamed_file(tmp_path) as file:
            file.write(content)
            give_name(file, place)
    assert place.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_layer_is_kept_whatever_folder_its_bytes_came_by(tmp_path: Path) -> None:
    wanted = layer(b"bytes")
    cache = LayerCache(tmp_path)
    cache.keep(wanted, OpenedLayer(io.BytesIO(b"bytes"), 5))
    found = cache.find(wanted)
    assert found is not None
    assert found.file.read() == b"bytes"
