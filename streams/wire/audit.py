"""Audit records back from the wire."""

from __future__ import annotations

from typing import Any

from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind


def audit_of_record(record: dict[str, Any]) -> AuditRecord:
    """The audit record that an Avro-shaped record holds.

    Raises:
        ValueError: its kind or outcome is unknown.
    """
    kind, outcome = CommandKind(record["kind"]), CommandOutcome(record["outcome"])
    return AuditRecord(**(record | {"kind": kind, "outcome": outcome}))
