"""Figures for Prometheus. Several processes on a host share them through the folder PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.registry import REGISTRY

requests = Counter("hpcops_discovery_requests", "Requests by route, method and status.", ["route", "method", "status"])
durations = Histogram(
    "hpcops_discovery_request_seconds",
    "Time until a request was answered, watches excepted.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
revision = Gauge("hpcops_discovery_revision", "Revision of the site's data.", multiprocess_mode="max")
watchers = Gauge("hpcops_discovery_watchers", "Requests that wait for changes.", multiprocess_mode="livesum")
beats = Counter("hpcops_discovery_heartbeats", "Heartbeats written.")
checks = Counter("hpcops_discovery_checks", "Health checks by result.", ["result"])
transitions = Counter(
    "hpcops_discovery_health_transitions", "Services whose health changed, by new status.", ["status"]
)
checking = Gauge("hpcops_discovery_checking", "1 where this host runs the health checks.", multiprocess_mode="max")


def exposition() -> bytes:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
