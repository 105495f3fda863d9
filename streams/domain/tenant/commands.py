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
        raise MalformedError(f"key: {key[:80]!r:.100}: must be the record's tenant_id {command.tenant_id!r}")
    check_moment("issued_at", command.issued_at, now_ms)
    if not 1 <= len(command.command_id) <= 255:
        raise MalformedError(f"command_id: {command.command_id[:80]!r:.100}: must be 1 to 255 characters")


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


def bounded(command: AdminCommand) -> AdminCommand:
    """The command with texts that its records can hold; one that had longer ones is malformed."""
    wrong, shorter = [command.malformed] if command.malformed else [], dict[str, str]()
    for name, most in _MOST_CHARS.items():
        text: str = getattr(command, name) or ""
        if len(text) > most:
            wrong.append(f"{name}: {text[:80]!r:.100}: must be at most {most} characters")
            shorter[name] = cut(text, most)
    return replace(command, malformed=cut("; ".join(wrong)) or None, **shorter)  # type: ignore[arg-type]
