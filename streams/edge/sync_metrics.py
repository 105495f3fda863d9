"""What sync measures, for Prometheus: labels of bounded sets only, never a server, a tenant or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from streams.edge.sync.app import CONNECTORS, EVENTS, SIGNS, VERDICTS
from streams.edge.sync.status import SyncStatus
from streams.telemetry.prometheus import Present, build_labels, info, log_event_counter, process_registry

PARTS: Final = (VERDICTS, SIGNS, CONNECTORS, EVENTS)
CONFIRMED_SECONDS: Final = 180
"""Workers give a sign of life every minute."""


class SyncMetrics:
    """Reads the status of sync when the page is asked for."""

    def __init__(self, version: str, status: Callable[[], SyncStatus], clock: Callable[[], int]) -> None:
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
        yield _gauge("ready", "1 when sync works, and verdicts are confirmed", not_ready_because(status, now) is None)
        if status.confirmed_at is not None:
            age = max(0, now - status.confirmed_at) / 1000
            yield _gauge("knowledge_age_seconds", "Since verdicts were last confirmed", age)
        yield _gauge("clock_skew_seconds", "How far the host's clock is known to be wrong", status.clock_skew / 1000)
        yield _gauge("loading", "1 while all verdicts are read anew", status.is_loading)
        yield _counter("verdict_records", "Records of verdicts that were read", status.records)
        yield _gauge("spool_events", "Events that wait", status.waiting.events)
        yield _gauge("spool_bytes", "Disk that they take", status.waiting.bytes)
        yield _counter("events_delivered", "Events that Kafka has acknowledged", status.delivered)
        yield _counter("events_rejected", "Events that no topic takes; they stay on disk", status.rejected)
        unreadable = CounterMetricFamily(
            "tes_edge_unreadable_records", "Records that could not be read, by what they are of", labels=["part"]
        )
        for part, count in status.unreadable.items():
            unreadable.add_metric([part], count)
        yield unreadable
        failing = GaugeMetricFamily("tes_edge_failing", "1 for a part of sync that fails now", labels=["part"])
        for part in PARTS:
            failing.add_metric([part], part in status.failures)
        yield failing
        signs = GaugeMetricFamily(
            "tes_edge_worker_sign_age_seconds",
            "Since the last sign of life of an input partition's worker",
            labels=["partition"],
        )
        for partition, moment in status.signs.items():
            signs.add_metric([str(partition)], max(0, now - moment) / 1000)
        yield signs


def not_ready_because(status: SyncStatus, now: int) -> str | None:
    """Why what the door knows is not confirmed, or something does not work; None where all is well."""
    if status.failures:
        return "; ".join(f"{part}: {why}" for part, why in status.failures.items())
    if status.is_loading or status.complete_at is None:
        return "verdicts are being read"
    silent = [number for number in range(status.inputs or 0) if number not in status.signs]
    if silent:
        return f"no worker of these input partitions has given a sign of life: {', '.join(map(str, silent[:20]))}"
    if status.confirmed_at is None or now - status.confirmed_at > CONFIRMED_SECONDS * 1000:
        return "the worker of an input partition is silent, or verdicts are behind"
    return None


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tes_edge_{name}", about, value)


def _counter(name: str, about: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"tes_edge_{name}", about, value)
