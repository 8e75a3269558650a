"""A kill at every call that changes something: old or new, never a mix, and the rerun repairs it."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Figure, MakeBench
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import kill_and_rerun, report, sweep
from tests.faults.tracing import spread

GATE = {"fresh install": None, "in-place exchange": None, "link flip": 20, "rollback": 20}
"""How many points run every time, besides those near the switch. None: all. The slow tests run the rest."""

_NEAR_THE_SWITCH = 12
_MUST_BE_MANY = (
    *("fresh install", "link flip", "in-place exchange", "rollback", "gc"),
    *("first trust refresh", "second trust refresh"),
)
"""These have a hundred points and more."""


def _sweep(bench: MakeBench, figure: Figure, name: str, count: int | None) -> None:
    made = bench(name)
    chosen = made.points
    if count is not None:
        chosen = spread(made.points[:-_NEAR_THE_SWITCH], count) + made.points[-_NEAR_THE_SWITCH:]
    assert len(made.points) >= 100 or name not in _MUST_BE_MANY
    failures = sweep(made, chosen, kill_and_rerun)
    figure(f"{len(chosen)} of {len(made.points)} points, {len(failures)} not survived")
    assert not failures, report(failures)


@pytest.mark.parametrize("name", GATE)
def test_kill_at_points_of_an_install(bench: MakeBench, figure: Figure, name: str) -> None:
    _sweep(bench, figure, name, GATE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCENARIOS if GATE.get(name, 0) is not None])
def test_kill_at_every_point(bench: MakeBench, figure: Figure, name: str) -> None:
    _sweep(bench, figure, name, None)
