"""What the process measures, for Prometheus: labels of bounded sets only, never a destination or a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from streams.notices.model import DestinationKind, OutcomeKind
from streams.notify.bounces.reports import ReportKind
from streams.notify.status import PARTS, State, Status, not_ready_because
from streams.telemetry.prometheus import Present, build_labels, info, log_event_counter, process_registry

_SECONDS: Final = (0.1, 0.3, 1, 3, 5, 10, 30, 60, 120, 600, 3600, 6 * 3600, 24 * 3600)


class NotifyMetrics:
    """Reads the status when the page is asked for."""

    def __init__(
        self, version: str, status: Status, clock: Callable[[], int], template_failures: Callable[[], int]
    ) -> None:
        """Measure what a status tells.

        Args:
            version: of the product.
            status: of the process.
            clock: returns UTC milliseconds.
            template_failures: returns how many mails were sent without their layout.
        """
        self._version, self._status, self._clock = version, status, clock
        self._template_failures = template_failures
        self._registry = process_registry()
        self.events = log_event_counter(self._registry)
        self._delay = Histogram(
            "tes_notify_delay_seconds",
            "From the writing of a notification to its delivery",
            ("kind",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        for kind in DestinationKind:
            self._delay.labels(kind.value)
        self._registry.register(Present(self._present))

    def observe(self, kind: DestinationKind, delay_ms: int) -> None:
        """A notice was delivered, so long after it was written."""
        self._delay.labels(kind.value).observe(delay_ms / 1000)

    def page(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self._registry)

    def _present(self) -> Iterable[Any]:
        status, now = self._status, self._clock()
        yield info("tes_build", "What runs", build_labels(self._version))
        yield _gauge("ready", "1 when notices are read and can be sent", not_ready_because(status, now) is None)
        yield _gauge("lease", "1 for the process that reads the topic", status.has_lease)
        yield _gauges("state", "1 for what the intake does", "state", {one: one is status.state for one in State})
        yield _gauge("lag_records", "Offsets that are not read yet", status.lag)
        failing = {part: part in status.failures for part in PARTS}
        yield _gauges("failing", "1 for what does not work now", "part", failing)
        errors = {part: status.errors[part] for part in PARTS}
        yield _counters("errors", "Failures of what it depends on", "part", errors)
        yield _counter("notices", "Notifications that were read into the ledger", status.notices)
        yield _counter("untold", "Notifications that nobody is told of", status.untold)
        yield _counter("expired", "Deliveries that were too old to be sent", status.expired)
        yield _counter("withdrawn", "Deliveries that became untrue before they were sent", status.withdrawn)
        yield _counter("unreadable_records", "Records that were passed over", status.unreadable)
        yield _counter("refused_runs", "Results that came after another process took the lane", status.refused_runs)
        yield _counter("parkings", "Destinations that were parked", status.parkings)
        bounces = {str(kind): status.bounces[kind] for kind in ReportKind} | {"stray": status.stray_bounces}
        yield _counters("bounces", "Mails that came back, by what they say", "kind", bounces)
        failures = self._template_failures()
        yield _counter("template_failures", "Mails that were sent without their layout", failures)
        attempts = CounterMetricFamily("tes_notify_attempts", "Messages that were tried", labels=["kind", "outcome"])
        for kind in DestinationKind:
            for outcome in OutcomeKind:
                attempts.add_metric([kind.value, outcome.value], status.attempts[kind, outcome])
        yield attempts
        delivered = {kind: status.delivered[kind] for kind in DestinationKind}
        yield _counters("delivered", "Notices that were delivered", "kind", delivered)
        yield _gauge("in_flight", "Destinations that are sent to now", status.in_flight)
        away = {kind: kind in status.away for kind in DestinationKind}
        yield _gauges("channel_away", "1 for a way by which nobody can be reached", "kind", away)
        ledger = status.ledger
        waiting = {kind: ledger.waiting.get(kind, 0) for kind in DestinationKind}
        yield _gauges("waiting", "Deliveries that are not done", "kind", waiting)
        parked = {kind: ledger.parked.get(kind, 0) for kind in DestinationKind}
        yield _gauges("parked", "Destinations that are parked", "kind", parked)
        yield _gauge("overdue_critical", "Critical deliveries that should have gone an hour ago", ledger.overdue)
        yield _gauge("untold_tenants", "Tenants with a notice of the last week and nobody told", ledger.untold_tenants)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tes_notify_{name}", about, value)


def _gauges(name: str, about: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tes_notify_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _counter(name: str, about: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"tes_notify_{name}", about, value)


def _counters(name: str, about: str, label: str, values: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"tes_notify_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
