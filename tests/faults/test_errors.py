"""An error at every call: it is told in one line, or made good. None is swallowed."""

from __future__ import annotations

import errno

import pytest

from tests.faults.conftest import Figure, MakeBench
from tests.faults.scenarios import SCENARIOS, Broken
from tests.faults.sweep import Bench, Failure, errors_for, fail_and_rerun, report
from tests.faults.tracing import Call

GATE = 40


def _sweep(bench: Bench, cases: list[tuple[Call, int]], figure: Figure) -> None:
    failures = []
    for call, error in cases:
        bench.reset()
        try:
            fail_and_rerun(bench, call, error)
        except Broken as broken:
            failures.append(Failure(call, f"{errno.errorcode[error]}: {broken}"))
    figure(f"{len(cases)} errors at {len(bench.points)} points, {len(failures)} swallowed or not told well")
    assert not failures, report(failures)


def test_errors_at_points_of_an_install(bench: MakeBench, figure: Figure) -> None:
    made = bench("link flip")
    # Every kind of error comes up, and every sync.
    cases = [
        (call, errors[index % len(errors)])
        for index, call in enumerate(made.points)
        if (errors := errors_for(call))
    ]
    step = len(cases) / GATE
    chosen = [cases[int(index * step)] for index in range(GATE)]
    _sweep(made, chosen, figure)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_error_at_every_point(bench: MakeBench, figure: Figure, name: str) -> None:
    made = bench(name)
    _sweep(made, [(call, error) for call in made.points for error in errors_for(call)], figure)
