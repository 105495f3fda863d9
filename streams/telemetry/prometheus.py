"""What the metrics of every process have: its own memory and time, its build, the named events of its log."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from streams.log_events import EVENTS

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Present(Collector):
    """Metrics that have a value now, read when they are asked for."""

    def __init__(self, read: Callable[[], Iterable[Any]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Any]:
        """See `Collector`."""
        return self._read()

    def describe(self) -> Iterable[Any]:
        """Nothing: the values are not read when this is registered."""
        return ()


def process_registry() -> CollectorRegistry:
    """A registry with what Python and the system tell of the process."""
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def log_event_counter(registry: CollectorRegistry) -> Counter:
    """Counts the named events of the log, each from 0 on, so that the first one is an increase."""
    events = Counter("tes_log_events", "Named events of the log", ("event",), registry=registry)
    for name in EVENTS:
        events.labels(name)
    return events


def build_labels(version: str, **others: str) -> dict[str, str]:
    """The labels of `tes_build_info`."""
    return {"version": version, **others, "python": platform.python_version()}


def info(name: str, about: str, labels: Mapping[str, str]) -> GaugeMetricFamily:
    """A metric that is always 1, for its labels."""
    family = GaugeMetricFamily(f"{name}_info", about, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
