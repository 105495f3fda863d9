"""What a worker measures, for Prometheus.

Base units, and labels of bounded sets only: never a server, a tenant or an address. Counters and histograms are moved
once per committed unit of work; what has a present value is read when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from streams.engine.status import BEFORE_THE_START, Phase, WorkerStatus
from streams.engine.telemetry import DEAD_LETTERS, PresentState, Telemetry, UnitReport
from streams.telemetry.counts import COMMANDS, CONNECTIONS, NOTIFICATIONS, VERDICTS
from streams.telemetry.prometheus import Present, build_labels, info, log_event_counter, process_registry

UNIT_RECORDS_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
VERDICT_SECONDS_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

_COUNTERS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    CONNECTIONS: ("tes_connections", "Connections processed", ("outcome", "finding")),
    VERDICTS: ("tes_verdicts", "Verdicts written", ("stage", "finding")),
    NOTIFICATIONS: ("tes_notifications", "Notifications written", ("kind",)),
    COMMANDS: ("tes_commands", "Administrator commands carried out or refused", ("kind", "outcome")),
    DEAD_LETTERS: ("tes_dead_letters", "Records that could not be processed", ("topic", "reason")),
}


_RULES: Final[Mapping[str, str]] = {
    "policy": "The policy that governs now",
    "catalogue": "The catalogue in force now; version 0 is the built-in one",
}
"""Kinds of rules that processors decide by."""
_NOTHING: Final = PresentState(lambda: BEFORE_THE_START, dict, dict)


class Metrics(Telemetry):
    """What is measured, and the page that Prometheus reads."""

    def __init__(self, version: str, state_format: int, clock: Callable[[], float] = time.time) -> None:
        self._worker = _NOTHING
        self._timers: dict[int, int] = {}
        self._clock = clock
        self._build = build_labels(version, state_format=str(state_format))
        self._registry = registry = process_registry()
        self._counters = {
            name: Counter(metric, about, labels, registry=registry)
            for name, (metric, about, labels) in _COUNTERS.items()
        }
        self._records = Counter("tes_records", "Input records committed", ("partition",), registry=registry)
        self._sizes = Histogram(
            "tes_unit_records", "Input records of a unit of work", buckets=UNIT_RECORDS_BUCKETS, registry=registry
        )
        self._deciding = Histogram(
            "tes_unit_decide_seconds", "Decoding and deciding a unit", buckets=SECONDS_BUCKETS, registry=registry
        )
        self._committing = Histogram(
            "tes_unit_commit_seconds", "Committing and storing a unit", buckets=SECONDS_BUCKETS, registry=registry
        )
        self._to_verdict = Histogram(
            "tes_event_to_verdict_seconds",
            "From a connection to the commit of the verdict that it caused",
            buckets=VERDICT_SECONDS_BUCKETS,
            registry=registry,
        )
        self._events = log_event_counter(registry)
        registry.register(Present(self._present))

    def worker_built(self, present: PresentState) -> None:
        """See `Telemetry`."""
        self._worker = present

    def unit_committed(self, report: UnitReport) -> None:
        """See `Telemetry`."""
        for (name, *labels), count in report.notes.counts.items():
            self._counters[name].labels(*labels).inc(count)
        self._records.labels(str(report.partition)).inc(report.records)
        self._sizes.observe(report.records)
        self._deciding.observe(report.decide_seconds)
        self._committing.observe(report.commit_seconds)
        now = self._clock()
        for moment in report.notes.moments:
            self._to_verdict.observe(max(0.0, now - moment / 1000))

    def timers_counted(self, partition: int, count: int) -> None:
        """See `Telemetry`."""
        self._timers[partition] = count

    def event_logged(self, name: str) -> None:
        """See `Telemetry`."""
        self._events.labels(name).inc()

    def page(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self._registry)

    def _present(self) -> Iterable[GaugeMetricFamily]:
        status = self._worker.status()
        yield info("tes_build", "What runs", self._build)
        for kind, labels in self._worker.rules().items():
            yield info(f"tes_{kind}", _RULES[kind], labels)
        yield GaugeMetricFamily("tes_ready", "1 when the worker works", status.not_ready_because is None)
        yield GaugeMetricFamily(
            "tes_kafka_reached", "1 when the broker answered the last look", status.is_broker_reached
        )
        if status.input_partitions is not None:
            yield GaugeMetricFamily("tes_input_partitions", "Partitions of the input topics", status.input_partitions)
        memory = GaugeMetricFamily("tes_rocksdb_memory_bytes", "Memory of RocksDB", labels=["kind"])
        for kind, size in self._worker.memory().items():
            memory.add_metric([kind], size)
        yield memory
        yield from self._partitions(status)

    def _partitions(self, status: WorkerStatus) -> Iterable[GaugeMetricFamily]:
        working = _gauge("tes_partition_working", "1 when an owned partition is worked on")
        restored = _gauge("tes_restored_rows", "State rows read from the changelog since the partition was assigned")
        left = _gauge("tes_restore_rows_left", "Changelog offsets that are still to be read")
        timers = _gauge("tes_due_timers", "Timers that wait; missing until counted after a start")
        ticked = _gauge("tes_timers_fired_to_timestamp_seconds", "Timers due up to this moment have fired")
        lag = GaugeMetricFamily(
            "tes_input_lag_records", "Input records that are not committed yet", labels=["topic", "partition"]
        )
        for item in status.partitions:
            name = [str(item.partition)]
            working.add_metric(name, item.phase is Phase.WORKING)
            restored.add_metric(name, item.rows_restored)
            left.add_metric(name, item.rows_to_restore)
            if item.partition in self._timers:
                timers.add_metric(name, self._timers[item.partition])
            if item.ticked_to is not None:
                ticked.add_metric(name, item.ticked_to / 1000)
            for topic, records in item.lags.items():
                lag.add_metric([topic, *name], records)
        self._timers = {
            item.partition: self._timers[item.partition] for item in status.partitions if item.partition in self._timers
        }
        return working, restored, left, timers, ticked, lag


def _gauge(name: str, about: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=["partition"])
