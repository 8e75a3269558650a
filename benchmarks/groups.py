"""Which races give which figures."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cluster import clusters
from benchmarks.figures import Plan, builds, installing, services, starting, unpacking
from benchmarks.transport import bytes_on_the_wire, over_http


def measure(plan: Plan) -> None:
    """Run all races that the wanted figures need."""
    for group, figures in GROUPS.items():
        if plan.wanted & figures:
            plan.note(f"measuring {', '.join(sorted(plan.wanted & figures))}")
            group(plan)


GROUPS: dict[Callable[[Plan], None], frozenset[str]] = {
    builds: frozenset({"cold-build", "rebuild", "rebuild-venv-pack", "size", "memory"}),
    services: frozenset({"five-services"}),
    clusters: frozenset({"cluster"}),
    unpacking: frozenset({"unpack"}),
    installing: frozenset({"install", "memory"}),
    over_http: frozenset({"http"}),
    bytes_on_the_wire: frozenset({"upgrade"}),
    starting: frozenset({"unchanged", "help"}),
}
ALL = (
    "cold-build", "rebuild", "rebuild-venv-pack", "five-services", "cluster", "unpack", "install", "http",
    "upgrade", "unchanged", "help", "size", "memory",
)  # fmt: skip
NOT_QUICK = frozenset({"rebuild-venv-pack", "five-services", "cluster", "upgrade"})
