"""What a store in a directory does beyond the contract of all stores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distributor.stores import directory
from distributor.stores.directory import DirectoryStore


def test_what_is_written_together_is_on_disk_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.replace_if_unchanged("site/index.html", b"old", None)
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append("one")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(directory, "sync_file_system", lambda path: synced.append(f"all below {path.name}"))
    with store.together():
        for number in range(3):
            assert store.replace_if_unchanged(f"site/{number}.html", b"new", None)
        assert synced == []
    assert synced == ["all below store"]
    assert store.replace_if_unchanged("site/last.html", b"new", None)
    assert synced == ["all below store", "one", "one"]  # the file, and the folder that names it
    with pytest.raises(ZeroDivisionError), store.together():
        raise ZeroDivisionError
    assert synced[3:] == ["all below store"]
    assert [store.read(path, limit=3) for path in store.list("site/")] == [b"new"] * 3 + [b"old", b"new"]


def test_an_error_before_anything_was_written_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DirectoryStore(tmp_path / "store").together():
        raise ZeroDivisionError
    assert not (tmp_path / "store").exists()
