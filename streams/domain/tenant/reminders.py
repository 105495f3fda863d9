"""Notifications about commands, pauses and exceptions, and the reminders that become due."""

from __future__ import annotations

from collections.abc import Iterator

from streams.domain.outputs.notification import AdminNotification, NotificationKind, Severity, notification_id
from streams.domain.tenant.commands import AdminCommand
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.time import DAY_MS, iso

ENDING_DAYS = 3
"""How long before its end a pause is announced to end."""

_TITLES = {
    NotificationKind.PAUSE_STARTED: "Enforcement is paused",
    NotificationKind.PAUSE_EXTENDED: "The enforcement pause is extended",
    NotificationKind.PAUSE_CANCELLED: "The enforcement pause is cancelled",
    NotificationKind.PAUSE_ENDING: "The enforcement pause ends soon",
    NotificationKind.PAUSE_ENDED: "The enforcement pause has ended",
    NotificationKind.EXCEPTION_GRANTED: "An exception is granted",
    NotificationKind.EXCEPTION_REVOKED: "An exception is revoked",
    NotificationKind.EXCEPTION_EXPIRED: "An exception has expired",
    NotificationKind.OVERRIDE_APPLIED: "A server is judged as another build",
    NotificationKind.COMMAND_REFUSED: "A command is refused",
}


def waiver_title(kind: NotificationKind, server: str | None) -> str:
    """The title of a notification about a command, a pause or an exception."""
    return f"{_TITLES[kind]}{f' for {server}' if server else ''}"


def tenant_timers(
    tenant: TenantEnforcement, since: int | None = None
) -> Iterator[tuple[int, NotificationKind, str, int]]:
    """What is to be told of pauses and exceptions since the tenant's clock, as (due, kind, server or "", end)."""
    since = tenant.clock_at if since is None else since
    owners = [("", tenant.pauses), *tenant.server_pauses.items()]
    for server, pauses in owners:
        for pause in pauses:
            announced = pause.ends_at - ENDING_DAYS * DAY_MS
            if announced > max(since, pause.starts_at):
                yield announced, NotificationKind.PAUSE_ENDING, server, pause.ends_at
            if pause.ends_at > since:
                yield pause.ends_at, NotificationKind.PAUSE_ENDED, server, pause.ends_at
    for server, grants in tenant.exceptions.items():
        for item in grants:
            if item.ends_at > since:
                yield item.ends_at, NotificationKind.EXCEPTION_EXPIRED, server, item.ends_at


def waiver_notification(
    tenant: TenantEnforcement, due: int, kind: NotificationKind, server: str, ends_at: int
) -> AdminNotification:
    """The notification that a pause or an exception ends or has ended."""
    verb = "ends" if kind is NotificationKind.PAUSE_ENDING else "ended"
    until = tenant.waivers_of(server).until(ends_at)
    then = "enforcement resumes where it stopped" if until is None else f"another one applies until {iso(until)}"
    return AdminNotification(
        notification_id=notification_id(kind, tenant.tenant_id, server or None, due, str(ends_at)),
        kind=kind,
        severity=Severity.WARNING if until is None else Severity.INFO,
        tenant_id=tenant.tenant_id,
        server=server or None,
        occurred_at=due,
        title=waiver_title(kind, server or None),
        text=f"It {verb} at {iso(ends_at)}; {then}.",
        paused_until=ends_at,
    )


def command_notification(
    kind: NotificationKind,
    tenant: TenantEnforcement,
    command: AdminCommand,
    at: int,
    left: int,
    refused: str | None,
) -> AdminNotification:
    """The notification about a command; `left` days of quota remain, `refused` says why it changes nothing."""
    server = command.server
    until = tenant.waivers_of(server or "").until(at)
    text = refused or command.reason or f"By {command.issued_by}."
    if refused is None and until is not None:
        text += f" Until {iso(until)}."
    return AdminNotification(
        notification_id=notification_id(kind, command.tenant_id, server, at, command.command_id),
        kind=kind,
        severity=Severity.WARNING if refused else Severity.INFO,
        tenant_id=command.tenant_id,
        server=server,
        occurred_at=at,
        title=waiver_title(kind, server),
        text=text,
        paused_until=until,
        quota_left_days=left,
        command_id=command.command_id,
    )
