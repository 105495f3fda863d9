"""Administrator commands: what each asks for, and what makes one malformed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from streams.domain.bounds import MAX_SERVER_CHARS, MAX_TEXT_CHARS, cut
from streams.domain.exchange.names import canonical_server
from streams.domain.validation import MalformedError, check_moment, check_tenant


class CommandKind(StrEnum):
    """What a command asks for; UNKNOWN is a kind that this version does not have."""

    PAUSE_CREATE = "PAUSE_CREATE"
    PAUSE_CANCEL = "PAUSE_CANCEL"
    PAUSE_SERVER = "PAUSE_SERVER"
    EXCEPTION_GRANT = "EXCEPTION_GRANT"
    EXCEPTION_REVOKE = "EXCEPTION_REVOKE"
    OVERRIDE_BUILD = "OVERRIDE_BUILD"
    POLICY_PUBLISHED = "POLICY_PUBLISHED"
    CATALOGUE_PUBLISHED = "CATALOGUE_PUBLISHED"
    UNKNOWN = "UNKNOWN"


class Role(StrEnum):
    """The role of a command's issuer."""

    TENANT_ADMIN = "TENANT_ADMIN"
    OPERATOR = "OPERATOR"


_MOST_CHARS = {
    "issued_by": MAX_TEXT_CHARS,
    "server": MAX_SERVER_CHARS,
    "owner": MAX_TEXT_CHARS,
    "reason": MAX_TEXT_CHARS,
    "build": MAX_TEXT_CHARS,
}
PUBLICATIONS = frozenset((CommandKind.POLICY_PUBLISHED, CommandKind.CATALOGUE_PUBLISHED))
"""Kinds that stand in audit records only: nobody can ask for them by a command."""


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """A command; moments in UTC milliseconds, `days` of 24 hours.

    `malformed` says what was wrong with the text that it came from; such a command is refused.
    """

    command_id: str
    tenant_id: str
    issued_at: int
    issued_by: str
    role: Role
    kind: CommandKind
    days: int | None = None
    server: str | None = None
    owner: str | None = None
    reason: str | None = None
    build: str | None = None
    expires_at: int | None = None
    malformed: str | None = None


def check_command(command: AdminCommand, key: bytes | None = None, now_ms: int | None = None) -> None:
    """Refuse a command that cannot be attributed to a tenant and a moment; all else is refused with an audit record.

    Raises:
        MalformedError: names the field, the value and the rule.
    """
    check_tenant(command.tenant_id)
    if key is not None and key != command.tenant_id.encode():
        raise MalformedError(f"key: {key[:80]!r}: must be the record's tenant_id {command.tenant_id!r}")
    check_moment("issued_at", command.issued_at, now_ms)
    if not 1 <= len(command.command_id) <= 255:
        raise MalformedError(f"command_id: {command.command_id[:80]!r}: must be 1 to 255 characters")


def subject_of(command: AdminCommand) -> str | None:
    """The server that a command is about, in the form of its records; None for the whole tenant.

    A tenant-wide pause is one whatever server it names. A name that is too long for a server is cut: its command is
    refused.
    """
    name = named_server(command)
    return None if name is None else name[:MAX_SERVER_CHARS]


def named_server(command: AdminCommand) -> str | None:
    """The server that a command is about, however long its name; None for the whole tenant."""
    if command.server is None or command.kind is CommandKind.PAUSE_CREATE:
        return None
    return canonical_server(command.server)


def apply_command(
    tenant: TenantEnforcement,
    command: AdminCommand,
    is_known: bool,
    rulebook: Rulebook,
    override: Override | None = None,
) -> CommandDecision:
    """Carry out one command. A command id seen before changes and emits nothing.

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
    decision = advance_tenant(tenant, at)
    before = replace(decision.tenant, seen_commands=(*tenant.seen_commands[-SEEN_COMMANDS + 1 :], mark))
    decision.tenant = before
    kind, reason = NotificationKind.COMMAND_REFUSED, None
    command = _bounded(replace(command, server=_name_of(command)))
    try:
        _check(command, is_known)
        kind = _apply(decision, command, rulebook)
        _check_size(before, decision.tenant, kind)
    except (RefusedError, QuotaError) as refused:
        kind, reason = NotificationKind.COMMAND_REFUSED, str(refused)
        decision = replace(decision, tenant=before, touches=False, server=None, override=None)
    else:
        if command.kind is CommandKind.PAUSE_CREATE and not is_known:
            note = f"no server of tenant {command.tenant_id!r} is known yet: the pause holds for those to come"
            command = replace(command, reason=f"{command.reason}; {note}" if command.reason else note)
    quota = rulebook.policy_at(at).pause_days_per_year
    left = decision.tenant.left_days(year_of(at), quota)
    overridden = Override(*decision.override) if decision.override else override
    decision.audit = AuditRecord(
        audit_id=stable_id(f"audit/{command.tenant_id}/{command.command_id}"),
        command_id=command.command_id,
        tenant_id=command.tenant_id,
        kind=command.kind,
        outcome=CommandOutcome.REFUSED if reason else CommandOutcome.ACCEPTED,
        reason=reason or command.reason,
        issued_by=command.issued_by,
        occurred_at=at,
        quota_left_days=left,
        before=_shown(before, command.server, override, at),
        after=_shown(decision.tenant, command.server, overridden, at),
    )
    decision.notifications.append(_command_notice(kind, decision.tenant, command, at, left, reason))
    decision.notifications += [
        waiver_notification(decision.tenant, *timer) for timer in _ended_by(kind, before, decision.tenant, command)
    ]
    if reason is None:
        decision.tenant = settle_subject(settle(decision.tenant), command.server)
    return decision


def _bounded(command: AdminCommand) -> AdminCommand:
    """The command with texts that its records can hold; one that had longer ones is malformed."""
    wrong, shorter = [command.malformed] if command.malformed else [], dict[str, str]()
    for name, most in _MOST_CHARS.items():
        text: str = getattr(command, name) or ""
        if len(text) > most:
            wrong.append(f"{name}: {text[:80]!r}: must be at most {most} characters")
            shorter[name] = cut(text, most)
    return replace(command, malformed=cut("; ".join(wrong)) or None, **shorter)  # type: ignore[arg-type]


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


def _check_size(before: TenantEnforcement, after: TenantEnforcement, kind: NotificationKind) -> None:
    size = after.kept_bytes
    if size > MAX_KEPT_BYTES and size > before.kept_bytes and kind is not NotificationKind.PAUSE_CANCELLED:
        raise RefusedError(
            f"server: the pauses and exceptions of this tenant would take {size} bytes: "
            f"at most {MAX_KEPT_BYTES} are kept; pause the whole tenant instead"
        )


def _check(command: AdminCommand, is_known: bool) -> None:
    kind, server = command.kind, command.server
    if command.malformed is not None:
        raise RefusedError(command.malformed)
    if kind is CommandKind.UNKNOWN:
        raise RefusedError("kind: UNKNOWN: is no command of this version")
    if kind in _OPERATOR_ONLY and command.role is not Role.OPERATOR:
        raise RefusedError(f"role: {command.role.value}: {kind.value} is for operators only")
    if server is None and kind not in (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_CANCEL):
        raise RefusedError(f"server: null: {kind.value} needs a server")
    if server is not None and not is_known:
        raise RefusedError(f"server: {server!r:.120}: is not known")
    is_pause = kind in (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_SERVER)
    if is_pause and (command.days is None or command.days < 1):
        raise RefusedError(f"days: {command.days}: must be 1 or more")
    if kind in (CommandKind.EXCEPTION_GRANT, CommandKind.OVERRIDE_BUILD):
        needed = ("owner", "reason") if kind is CommandKind.EXCEPTION_GRANT else ("reason",)
        for name in needed:
            if not (getattr(command, name) or "").strip():
                raise RefusedError(f"{name}: {getattr(command, name)!r}: {kind.value} needs one")
        if command.expires_at is not None:
            try:
                check_moment("expires_at", command.expires_at, None)
            except MalformedError as error:
                raise RefusedError(str(error)) from None
        if command.expires_at is None or command.expires_at <= command.issued_at:
            shown = iso(command.expires_at) if command.expires_at is not None else None
            raise RefusedError(f"expires_at: {shown}: must be after issued_at ({iso(command.issued_at)})")


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
                raise RefusedError(f"server: {server!r}: no pause runs at {iso(at)}")
            decision.tenant = changed
            return NotificationKind.PAUSE_CANCELLED
        case CommandKind.EXCEPTION_GRANT:
            granted = ExceptionGrant(at, command.expires_at or at, command.owner or "", command.reason or "")
            decision.tenant = grant(tenant, server or "", granted)
            return NotificationKind.EXCEPTION_GRANTED
        case CommandKind.EXCEPTION_REVOKE:
            changed = revoke(tenant, server or "", at)
            if changed is None:
                raise RefusedError(f"server: {server!r}: no exception holds at {iso(at)}")
            decision.tenant = changed
            return NotificationKind.EXCEPTION_REVOKED
        case _:
            decision.override = (_existing_build(command.build, rulebook.catalogue_at(at)), command.expires_at or at)
            return NotificationKind.OVERRIDE_APPLIED


def _existing_build(text: str | None, catalogue: Catalogue) -> Build:
    try:
        build = catalogue.canonical(parse_build(text or ""))
    except ValueError as error:
        raise RefusedError(str(error)) from None
    release = catalogue.at_least(build)
    if release is None or release.build != build:
        raise RefusedError(f"build: {build}: is not in the catalogue")
    return build


def _shown(tenant: TenantEnforcement, server: str | None, override: Override | None, at: int) -> str:
    """What holds for the subject of a command from its moment on, as JSON."""
    pauses = tenant.pauses if server is None else tenant.server_pauses.get(server, ())
    shown: dict[str, object] = {
        "pauses": [{"starts_at": iso(pause.starts_at), "ends_at": iso(pause.ends_at)} for pause in _last_of(pauses, at)]
    }
    if server is not None:
        shown["exceptions"] = [
            {"starts_at": iso(item.starts_at), "ends_at": iso(item.ends_at), "owner": item.owner}
            for item in _last_of(tenant.exceptions.get(server, ()), at)
        ]
        shown["override"] = override and {"build": str(override.build), "ends_at": iso(override.ends_at)}
    return json.dumps(shown, separators=(",", ":"))


_Shown = TypeVar("_Shown", Pause, ExceptionGrant)


def _last_of(spans: Iterable[_Shown], at: int) -> list[_Shown]:
    """The spans that are not over before `at`, as many as an audit record shows."""
    return sorted((span for span in spans if span.ends_at >= at), key=attrgetter("ends_at"))[-SHOWN_SPANS:]


def advance_tenant(tenant: TenantEnforcement, until: int) -> CommandDecision:
    """Tell what is due at or before `until`, in due order."""
    decision = CommandDecision(tenant)
    for due, kind, server, ends_at in sorted(tenant_timers(tenant)):
        if due <= until:
            decision.notifications.append(waiver_notification(tenant, due, kind, server, ends_at))
    decision.tenant = settle(replace(tenant, clock_at=max(tenant.clock_at, until)))
    return decision


def _command_notice(
    kind: NotificationKind,
    tenant: TenantEnforcement,
    command: AdminCommand,
    at: int,
    left: int,
    refused: str | None,
) -> AdminNotification:
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
