"""What a unit of work did, counted by kind, and told once when the unit is committed.

Quiet connections are counted in a list of plain numbers: nothing else would be cheap enough for every event.
"""

from __future__ import annotations

from typing import Any, Final

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.tenant.audit import AuditRecord
from streams.engine.telemetry import Label, UnitMetrics
from streams.telemetry.counts import COMMANDS, CONNECTIONS, NOTIFICATIONS, VERDICTS

_FINDINGS: Final = (*(finding.value for finding in Finding), "NONE")
_OUTCOMES: Final = (*(outcome.value for outcome in Outcome), "UNKNOWN")
"""The last of each stands where there is none."""


class UnitCounters:
    """The counts of one partition's unit; what a record adds is kept back until `accept`.

    `quiet` counts by number of finding, then of outcome.
    """

    def __init__(self) -> None:
        self.routine = [[0] * len(_OUTCOMES) for _ in _FINDINGS]
        self._pending: list[Label] = []
        self._moment: int | None = None
        self._notes: UnitMetrics

    def begin(self, notes: UnitMetrics) -> None:
        """Count for another unit."""
        self._notes = notes

    def emitted(self, record: Any) -> None:
        """Count a record that is written."""
        match record:
            case Verdict():
                self._pending.append((VERDICTS, str(record.stage), record.finding.value))
            case AdminNotification():
                self._pending.append((NOTIFICATIONS, record.kind.value))
            case AuditRecord():
                self._pending.append((COMMANDS, record.kind.value, record.outcome.value))

    def decided(self, connection: InboundConnection, finding: Finding | None) -> None:
        """Count a connection that was decided, with what its server then was found to be."""
        outcome = connection.outcome.value if connection.outcome is not None else _OUTCOMES[-1]
        self._moment = connection.observed_at
        self._pending.append((CONNECTIONS, outcome, finding.value if finding is not None else _FINDINGS[-1]))

    def commit(self) -> None:
        """Keep what the record added."""
        if not self._pending:
            return
        for label in self._pending:
            self._notes.counts[label] += 1
            if self._moment is not None and label[0] == VERDICTS:
                self._notes.moments.append(self._moment)
        self.discard()

    def discard(self) -> None:
        """Forget what the record added."""
        self._pending.clear()
        self._moment = None

    def finish(self) -> None:
        """Add what was counted as quiet."""
        for finding, counts in zip(_FINDINGS, self.routine, strict=True):
            for number, count in enumerate(counts):
                if count:
                    self._notes.counts[CONNECTIONS, _OUTCOMES[number], finding] += count
                    counts[number] = 0
