"""Figures for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from service.core import Service

_METHODS = frozenset({"GET", "HEAD", "POST"})


class Metrics:
    """The figures of one *service*."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Builds(service))
        self._requests = Counter(
            "venvoy_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "venvoy_http_request_seconds",
            "How long answers took.",
            ("route",),
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=self._registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. What clients may invent is not a label."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all figures in the text format."""
        return generate_latest(self._registry)


class _Builds(Collector):
    """What the database and the foreman say, asked when somebody scrapes."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Yield the figures of builds."""
        counts = GaugeMetricFamily("venvoy_builds", "Builds that the database knows.", labels=["state"])
        for state, count in self._service.builds.counts().items():
            counts.add_metric([state.value], count)
        yield counts
        tally = self._service.foreman.tally
        finished = CounterMetricFamily(
            "venvoy_builds_finished", "Builds that ended since the service began.", labels=["state"]
        )
        for state, count in tally.finished.items():
            finished.add_metric([state.value], count)
        yield finished
        yield _counter("venvoy_workers_killed", "Workers that a signal ended.", tally.killed)
        yield _counter("venvoy_builds_retried", "Builds begun again without being asked.", tally.retried)
        yield _counter("venvoy_build_seconds", "Time that builds took, all together.", tally.seconds)
        yield GaugeMetricFamily(
            "venvoy_builds_running", "Builds at work.", value=self._service.foreman.running
        )
        yield GaugeMetricFamily(
            "venvoy_followers", "Clients that follow a build.", self._service.board.followers
        )


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
