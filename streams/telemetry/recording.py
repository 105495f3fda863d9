"""A telemetry that keeps what it is told, for tests."""

from __future__ import annotations

from streams.engine.ports import Record
from streams.engine.telemetry import PresentState, Telemetry, Trace, UnitReport


class RecordingTelemetry(Telemetry):
    """Keeps what every hook was told, in order; `timers` the last count of each partition."""

    def __init__(self) -> None:
        self.present: PresentState | None = None
        self.looks = 0
        self.units: list[UnitReport] = []
        self.timers: dict[int, int] = {}
        self.decided: list[Record] = []
        self.events: list[str] = []

    def worker_built(self, present: PresentState) -> None:
        """See `Telemetry`."""
        self.present = present

    def watchdog_looked(self) -> None:
        """See `Telemetry`."""
        self.looks += 1

    def unit_committed(self, report: UnitReport) -> None:
        """See `Telemetry`."""
        self.units.append(report)

    def timers_counted(self, partition: int, count: int) -> None:
        """See `Telemetry`."""
        self.timers[partition] = count

    def begin_trace(self, record: Record) -> Trace | None:
        """See `Telemetry`; keeps the record, and follows none."""
        self.decided.append(record)
        return None

    def event_logged(self, name: str) -> None:
        """See `Telemetry`."""
        self.events.append(name)
