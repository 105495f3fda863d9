"""What the door measures, for Prometheus: labels of bounded sets only, never a server, a tenant or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client import Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from streams.domain.edge import Trust
from streams.edge.decision_counts import DecisionCounts
from streams.telemetry.prometheus import Present, build_labels, info, log_event_counter, process_registry

MILTER, HTTP = "milter", "http"


class DoorStatus(NamedTuple):
    """The status of the door; ages in seconds.

    `not_ready_because` is None where it answers and acts on what it knows. `knowledge_age` is None where verdicts were
    never known completely, `sync_age` where sync never wrote.
    """

    not_ready_because: str | None
    trust: Trust
    knowledge_age: float | None
    clock_skew: float
    sync_age: float | None
    spool_events: int
    spool_bytes: int
    dropped: Mapping[str, int]
    connectors: Mapping[str, int]
    connector_errors: tuple[str, ...]


class DoorMetrics:
    """Counts what the door does; the rest is read from its status when the page is asked for."""

    def __init__(self, version: str, status: Callable[[], DoorStatus]) -> None:
        """Measure a door whose present status `status` returns."""
        self._version, self._status = version, status
        self._registry = registry = process_registry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"tes_edge_{name}", about, labels, registry=registry)

        self.decisions = DecisionCounts()
        self.unmatched = counter("unmatched_messages", "Messages that came through no connector")
        self.lost = counter("events_lost", "Events that could not be stored")
        self.failures = counter("failures", "Faults of the door; mail was accepted", "where")
        self.connectors_refused = counter("connectors_refused", "Sets of connectors that were rejected")
        self.opened = counter("connections", "Connections of MTAs", "door")
        self.open = Gauge("tes_edge_open_connections", "Open connections of MTAs", ("door",), registry=registry)
        self.turned_away = counter("turned_away_connections", "Connections beyond the bound", "door")
        self.refused = counter("refused_requests", "What MTAs sent wrong: requests and frames", "door", "reason")
        self.unattributed = counter("unattributed_clients", "Clients whose address or connector no MTA can mean")
        for door in (MILTER, HTTP):
            self.open.labels(door)
            self.opened.labels(door)
        self.events = log_event_counter(registry)
        registry.register(Present(self._present))

    def page(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self._registry)

    def _present(self) -> Iterable[Any]:
        decisions = CounterMetricFamily(
            "tes_edge_decisions", "Decisions about messages", labels=["moment", "action", "cause"]
        )
        for moment, action, cause, count in self.decisions.counts():
            decisions.add_metric([moment, action.value, cause.name], count)
        yield decisions
        seconds = HistogramMetricFamily(
            "tes_edge_decision_seconds", "Deciding about a message and storing its event", labels=["moment"]
        )
        for moment, durations in self.decisions.durations.items():
            seconds.add_metric([moment], durations.buckets(), durations.seconds)
        yield seconds
        status = self._status()
        yield info("tes_build", "What runs", build_labels(self._version))
        yield _gauge("ready", "1 when the door answers, and acts on what it knows", status.not_ready_because is None)
        trust = GaugeMetricFamily("tes_edge_trust", "1 for how far verdicts are acted on", labels=["trust"])
        for item in Trust:
            trust.add_metric([item.value], item is status.trust)
        yield trust
        if status.knowledge_age is not None:
            yield _gauge("knowledge_age_seconds", "Since verdicts were last confirmed", status.knowledge_age)
        yield _gauge("clock_skew_seconds", "How far the host's clock is known to be wrong", status.clock_skew)
        if status.sync_age is not None:
            yield _gauge("sync_age_seconds", "Since sync last wrote", status.sync_age)
        yield _gauge("spool_events", "Events that wait", status.spool_events)
        yield _gauge("spool_bytes", "Disk that they take", status.spool_bytes)
        dropped = CounterMetricFamily("tes_edge_events_dropped", "Events given up, by reason", labels=["reason"])
        for reason, count in status.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        connectors = GaugeMetricFamily("tes_edge_connectors", "Connectors in force", labels=["source"])
        for source, count in status.connectors.items():
            connectors.add_metric([source], count)
        yield connectors


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tes_edge_{name}", about, value)
