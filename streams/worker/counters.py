"""What a unit of work did, counted by kind, and told once when the unit is committed.

Routine connections are counted in a list of plain numbers: nothing else would be cheap enough for every event.
"""

from __future__ import annotations

from typing import Final

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.judgement import Finding
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.server.decide import Emitted
from streams.domain.tenant.audit import AuditRecord
from streams.engine.telemetry import UnitMetrics
from streams.state.orders import FINDINGS
from streams.telemetry.counts import COMMANDS, CONNECTIONS, NOTIFICATIONS, VERDICTS
from streams.wire.fast_headers import OUTCOMES

_FINDINGS: Final = (*(finding.value for finding in FINDINGS), "NONE")
_OUTCOMES: Final = (*(outcome.value for outcome in OUTCOMES), "UNKNOWN")
"""By their numbers in a row and in a connection's value; the last of each stands where there is none."""
REJECTED: Final = OUTCOMES.index(Outcome.REJECTED)
"""The number under which what was refused before a connection is counted."""


class UnitCounters:
    """The counts of one partition's unit; `routine` counts by number of finding, then of outcome."""

    def __init__(self) -> None:
        self.routine = [[0] * len(_OUTCOMES) for _ in _FINDINGS]
        self._notes: UnitMetrics

    def begin(self, notes: UnitMetrics) -> None:
        """Count for another unit."""
        self._notes = notes

    def emitted(self, record: Emitted | AuditRecord, observed_at: int | None = None) -> None:
        """Count a record that is written, because of a connection at `observed_at` (UTC milliseconds) or of none."""
        counts = self._notes.counts
        match record:
            case Verdict():
                counts[VERDICTS, str(record.stage), record.finding.value] += 1
                if observed_at is not None:
                    self._notes.moments.append(observed_at)
            case AdminNotification():
                counts[NOTIFICATIONS, record.kind.value] += 1
            case AuditRecord():
                counts[COMMANDS, record.kind.value, record.outcome.value] += 1

    def decided(self, connection: InboundConnection, finding: Finding | None) -> None:
        """Count a connection that was decided, with what its server then was found to be."""
        # The `value` of a member of an enum is looked up by an interpreted method.
        outcome = str(connection.outcome) if connection.outcome is not None else _OUTCOMES[-1]
        found = str(finding) if finding is not None else _FINDINGS[-1]
        self._notes.counts[CONNECTIONS, outcome, found] += 1
        if connection.refused_before:
            self._notes.counts[CONNECTIONS, Outcome.REJECTED.value, found] += connection.refused_before

    def finish(self) -> None:
        """Add what was counted as routine."""
        for finding, counts in zip(_FINDINGS, self.routine, strict=True):
            for number, count in enumerate(counts):
                if count:
                    self._notes.counts[CONNECTIONS, _OUTCOMES[number], finding] += count
                    counts[number] = 0
