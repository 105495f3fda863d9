"""What a number or a place in a stored row stands for. An order never changes; a new name goes to the end.

The rows hold these numbers, whatever the order in which the names are declared elsewhere.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import ConnectorType

FINDINGS: Final = (
    Finding.COMPLIANT,
    Finding.OUT_OF_DATE,
    Finding.UNSUPPORTED,
    Finding.UNDETERMINED,
    Finding.NOT_EXCHANGE,
    Finding.OUT_OF_SCOPE,
)
FINDING_NUMBERS: Final = {finding: number for number, finding in enumerate(FINDINGS)}
CONNECTOR_TYPES: Final = (ConnectorType.ON_PREMISES, ConnectorType.PARTNER, ConnectorType.NONE)
"""Also the numbers of their symbols in the schema of a connection."""
EVIDENCE_FIELDS: Final = (
    *("received", "position", "protocol", "event_id", "message_id", "connector_id", "source_ip", "observed_at"),
)
DETAIL_FIELDS: Final = (
    *("tenant_id", "server", "first_seen_at", "policy_id", "policy_version", "stage", "reached_stage", "told_stage"),
    *("throttled_at", "blocked_at", "detected_at", "resolved_at", "revision"),
    *("refused_at", "accepted_at", "mixed_told_at", "changed_at"),
)
"""Fields of a server's state that stand in the second part of its row as they are; others follow there."""

evidence_of = attrgetter(*EVIDENCE_FIELDS)
details_of = attrgetter(*DETAIL_FIELDS)
