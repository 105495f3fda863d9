"""What a process of the report measures, for Prometheus: labels of bounded sets only, never a server or a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from streams.report.reading.status import PARTS, State, Status, not_ready_because, not_serving_because
from streams.telemetry.prometheus import Present, build_labels, info, log_event_counter, process_registry


class ReportMetrics:
    """Reads the status of the reader when the page is asked for."""

    def __init__(self, version: str, status: Callable[[], Status], clock: Callable[[], int]) -> None:
        """Measure what `status` tells; `clock` returns UTC milliseconds."""
        self._version, self._status, self._clock = version, status, clock
        self._registry = process_registry()
        self.events = log_event_counter(self._registry)
        self._registry.register(Present(self._present))

    def page(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self._registry)

    def _present(self) -> Iterable[Any]:
        status, now = self._status(), self._clock()
        yield info("tes_build", "What runs", build_labels(self._version))
        yield _gauge("ready", "1 when the tables are kept current", not_ready_because(status, now) is None)
        yield _gauge("serving", "1 when the database answers", not_serving_because(status, now) is None)
        yield _gauge("lease", "1 for the process that reads the topics", status.has_lease)
        yield _labelled("state", "1 for what the reader does", "state", {one: one is status.state for one in State})
        if status.current_at is not None:
            age = max(0, now - status.current_at) / 1000
            yield _gauge("age_seconds", "Since the tables showed all that the topics held", age)
        yield _labelled("lag_records", "Offsets that are not read yet", "topic", status.lag)
        yield _counted("records", "Records that were written", "topic", status.records)
        yield _counted("unreadable_records", "Records that were passed over", "topic", status.unreadable)
        failing = {part: part in status.failures for part in PARTS}
        yield _labelled("failing", "1 for what does not work now", "part", failing)
        yield _counted("errors", "Failures of the database, of Kafka and of the schema registry", "part", status.errors)
        yield _gauge("database_bytes", "Disk that the tables take", status.database_bytes)
        if status.free_bytes is not None:
            yield _gauge("free_bytes", "Disk that the tables may still take", status.free_bytes)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tes_report_{name}", about, value)


def _labelled(name: str, about: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tes_report_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _counted(name: str, about: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"tes_report_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
