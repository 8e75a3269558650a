"""What a worker has of its own: its environment, and the places that it can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.execution.address import cluster_address
from builder.execution.remote import WORKSITE, Worksite, _sources
from builder.execution.worker import Workers
from builder.wheels.download import Downloads
from builder.wheels.sdist_build import BuildOptions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TICK = "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"
PROFILE = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"


def test_workers_idle_unless_somebody_wants_to_watch_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(address=cluster_address("tcp://127.0.0.1:1"), interpreters=[], cache=tmp_path, jobs=1)
    monkeypatch.delenv(TICK, raising=False)
    monkeypatch.setenv(PROFILE, "True")
    found = workers.environment()
    assert (found[TICK], found[PROFILE]) == ("1s", "True")
    monkeypatch.setenv(WORKSITE, found[WORKSITE])
    assert Worksite.from_environment().cache == tmp_path


def test_folders_that_only_the_caller_has_are_left_out(tmp_path: Path) -> None:
    options = BuildOptions(offline=True, find_links=(str(tmp_path / "elsewhere"), str(tmp_path)))
    with Downloads() as downloads:
        assert len(_sources(options, downloads)) == 1
