"""A kill at every call that changes something: old or new, never a mix, and the rerun repairs it."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Figure, MakeBench
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import kill_and_rerun, report, sweep
from tests.faults.tracing import spread

GATE = {"fresh install": 72, "link flip": 72}
"""How many points run every time; all of them run with the slow tests."""


def _sweep(bench: MakeBench, figure: Figure, name: str, count: int | None) -> None:
    made = bench(name)
    chosen = made.points if count is None else spread(made.points, count)
    failures = sweep(made, chosen, kill_and_rerun)
    figure(f"{len(chosen)} of {len(made.points)} points, {len(failures)} not survived")
    assert not failures, report(failures)


@pytest.mark.parametrize("name", GATE)
def test_kill_at_points_of_an_install(bench: MakeBench, figure: Figure, name: str) -> None:
    _sweep(bench, figure, name, GATE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_at_every_point(bench: MakeBench, figure: Figure, name: str) -> None:
    _sweep(bench, figure, name, None)
