"""Applies a command, or the passing of time, to what is remembered of its tenant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from streams.domain.ids import stable_id
from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.policy.rulebook import Rulebook
from streams.domain.tenant.audit import AuditRecord, CommandOutcome, waivers_json
from streams.domain.tenant.commands import AdminCommand, CommandKind, bounded, named_server
from streams.domain.tenant.exceptions import grant, revoke
from streams.domain.tenant.override import Override
from streams.domain.tenant.pauses import cancel_pause, pause_server, pause_tenant
from streams.domain.tenant.quota import QuotaError, year_of
from streams.domain.tenant.refusals import RefusedError, check_allowed, check_size, existing_build
from streams.domain.tenant.reminders import command_notification, tenant_timers, waiver_notification
from streams.domain.tenant.settling import settle, settle_subject
from streams.domain.tenant.state import ExceptionGrant, TenantEnforcement, running
from streams.domain.time import iso

SEEN_COMMANDS = 4096
"""How many command ids are remembered per tenant; a duplicate within so many commands has no effect.

Far more commands than a tenant issues while a client retries. With 36-character ids they take about 160 KB of a row.
"""


@dataclass(slots=True)
class CommandDecision:
    """The tenant's next state, what to emit, and which servers it touches (`server` None: all of the tenant)."""

    tenant: TenantEnforcement
    audit: AuditRecord | None = None
    notifications: list[AdminNotification] = field(default_factory=list)
    touches: bool = False
    server: str | None = None
    override: Override | None = None


def apply_command(
    tenant: TenantEnforcement,
    command: AdminCommand,
    is_known: bool,
    rulebook: Rulebook,
    override: Override | None = None,
) -> CommandDecision:
    """Apply one command. A command id seen before changes and emits nothing.

    Args:
        tenant: what is remembered of the tenant.
        command: a valid command.
        is_known: whether its server is known, or any server of the tenant where it is about none.
        rulebook: the policies, of which the one in force says how large the quota is.
        override: the override of its server that holds now.
    """
    mark = int.from_bytes(hashlib.blake2b(command.command_id.encode(), digest_size=8).digest(), "big", signed=True)
    if mark in tenant.seen_commands:
        return CommandDecision(tenant)
    at = command.issued_at
    advanced = advance_tenant(tenant, at)
    before = replace(advanced.tenant, seen_commands=(*tenant.seen_commands[-SEEN_COMMANDS + 1 :], mark))
    decision = replace(advanced, tenant=before)
    kind, refused = NotificationKind.COMMAND_REFUSED, None
    command = bounded(replace(command, server=named_server(command)))
    try:
        check_allowed(command, is_known)
        kind = _apply(decision, command, rulebook)
        check_size(before, decision.tenant, kind)
    except (RefusedError, QuotaError) as error:
        kind, refused = NotificationKind.COMMAND_REFUSED, str(error)
        decision = replace(advanced, tenant=before)
    else:
        if command.kind is CommandKind.PAUSE_CREATE and not is_known:
            command = _with_note(command)
    after = decision.tenant
    left = after.left_days(year_of(at), rulebook.policy_at(at).pause_days_per_year)
    decision.audit = AuditRecord(
        audit_id=stable_id(f"audit/{command.tenant_id}/{command.command_id}"),
        command_id=command.command_id,
        tenant_id=command.tenant_id,
        kind=command.kind,
        outcome=CommandOutcome.REFUSED if refused else CommandOutcome.ACCEPTED,
        reason=refused or command.reason,
        issued_by=command.issued_by,
        occurred_at=at,
        quota_left_days=left,
        before=waivers_json(before, command.server, override, at),
        after=waivers_json(after, command.server, decision.override or override, at),
    )
    decision.notifications.append(command_notification(kind, after, command, at, left, refused))
    decision.notifications += [waiver_notification(after, *timer) for timer in _ended_by(kind, before, after, command)]
    if refused is None:
        decision.tenant = settle_subject(settle(after), command.server)
    return decision


def _with_note(command: AdminCommand) -> AdminCommand:
    """A pause with the note that it holds for servers to come, as none is known yet."""
    note = f"no server of tenant {command.tenant_id!r} is known yet: the pause applies to future servers"
    return replace(command, reason=f"{command.reason}; {note}" if command.reason else note)


def _ended_by(
    kind: NotificationKind, before: TenantEnforcement, after: TenantEnforcement, command: AdminCommand
) -> list[tuple[int, NotificationKind, str, int]]:
    """What a command that came late began when it was over already, and the servers' pauses that a cancel ends."""
    at = command.issued_at
    if kind is not NotificationKind.PAUSE_CANCELLED:
        known = set(tenant_timers(before, at))
        return sorted({timer for timer in tenant_timers(after, at) if timer[0] <= after.clock_at} - known)
    known = set(tenant_timers(before, at - 1))
    ended = {timer for timer in tenant_timers(after, at - 1) if timer[0] <= after.clock_at} - known
    subject = command.server or ""
    return sorted(timer for timer in ended if timer[1] is NotificationKind.PAUSE_ENDED and timer[2] != subject)


def _apply(decision: CommandDecision, command: AdminCommand, rulebook: Rulebook) -> NotificationKind:
    tenant, at, server = decision.tenant, command.issued_at, command.server
    quota = rulebook.policy_at(at).pause_days_per_year
    decision.touches, decision.server = True, server
    match command.kind:
        case CommandKind.PAUSE_CREATE:
            decision.server = None
            decision.tenant = pause_tenant(tenant, at, command.days or 0, quota)
            extends = running(tenant.pauses, at) is not None
            return NotificationKind.PAUSE_EXTENDED if extends else NotificationKind.PAUSE_STARTED
        case CommandKind.PAUSE_SERVER:
            decision.tenant = pause_server(tenant, server or "", at, command.days or 0, quota)
            extends = running(tenant.server_pauses.get(server or "", ()), at) is not None
            return NotificationKind.PAUSE_EXTENDED if extends else NotificationKind.PAUSE_STARTED
        case CommandKind.PAUSE_CANCEL:
            changed = cancel_pause(tenant, server, at, quota)
            if changed is None:
                raise RefusedError(f"server: {server!r}: no pause is active at {iso(at)}")
            decision.tenant = changed
            return NotificationKind.PAUSE_CANCELLED
        case CommandKind.EXCEPTION_GRANT:
            granted = ExceptionGrant(at, command.expires_at or at, command.owner or "", command.reason or "")
            decision.tenant = grant(tenant, server or "", granted)
            return NotificationKind.EXCEPTION_GRANTED
        case CommandKind.EXCEPTION_REVOKE:
            changed = revoke(tenant, server or "", at)
            if changed is None:
                raise RefusedError(f"server: {server!r}: no exception is active at {iso(at)}")
            decision.tenant = changed
            return NotificationKind.EXCEPTION_REVOKED
        case _:
            build = existing_build(command.build, rulebook.catalogue_at(at))
            decision.override = Override(build, command.expires_at or at)
            return NotificationKind.OVERRIDE_APPLIED


def advance_tenant(tenant: TenantEnforcement, until: int) -> CommandDecision:
    """Tell what is due at or before `until`, in due order."""
    decision = CommandDecision(tenant)
    for due, kind, server, ends_at in sorted(tenant_timers(tenant)):
        if due <= until:
            decision.notifications.append(waiver_notification(tenant, due, kind, server, ends_at))
    decision.tenant = settle(replace(tenant, clock_at=max(tenant.clock_at, until)))
    return decision
