"""What is recorded of a published version: it concerns every tenant."""

from __future__ import annotations

from typing import Final

from streams.domain.ids import stable_id
from streams.domain.policy.policy import Policy
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import iso

ALL_TENANTS: Final = "*"
"""Stands for the tenant in the audit record of a policy or a catalogue."""


def audit_policy(
    policy: Policy, effective_at: int, occurred_at: int, issued_by: str, before: str | None, after: str
) -> AuditRecord:
    """The audit record of a published policy.

    Args:
        policy: what was published.
        effective_at: when it begins (UTC milliseconds).
        occurred_at: when it was published (UTC milliseconds).
        issued_by: who published it.
        before: the version before it as JSON, None where there is none.
        after: the policy as JSON.
    """
    return _audit(
        f"policy/{policy.policy_id}/{policy.version}/{effective_at}",
        CommandKind.POLICY_PUBLISHED,
        f"{policy.policy_id} version {policy.version} takes effect at {policy.effective_at.isoformat()}.",
        *(issued_by, occurred_at, before, after),
    )


def audit_catalogue(
    version: int, effective_at: int, occurred_at: int, issued_by: str, changes: str, before: str, after: str
) -> AuditRecord:
    """The audit record of a published catalogue.

    Args:
        version: its version.
        effective_at: when it begins (UTC milliseconds).
        occurred_at: when it was published (UTC milliseconds).
        issued_by: who published it.
        changes: what differs from the one before, in words.
        before: the one before it as JSON.
        after: the catalogue as JSON.
    """
    return _audit(
        f"catalogue/{version}/{effective_at}",
        CommandKind.CATALOGUE_PUBLISHED,
        f"Catalogue {version} takes effect at {iso(effective_at)}: {changes}.",
        *(issued_by, occurred_at, before, after),
    )


def _audit(
    subject: str, kind: CommandKind, reason: str, issued_by: str, occurred_at: int, before: str | None, after: str
) -> AuditRecord:
    return AuditRecord(
        audit_id=stable_id(f"audit/{subject}"),
        command_id=None,
        tenant_id=ALL_TENANTS,
        kind=kind,
        outcome=CommandOutcome.ACCEPTED,
        reason=reason,
        issued_by=issued_by,
        occurred_at=occurred_at,
        quota_left_days=None,
        before=before,
        after=after,
    )
