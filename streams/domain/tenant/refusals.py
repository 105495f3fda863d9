"""When a command is refused."""

from __future__ import annotations

from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.outputs.notification import NotificationKind
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.tenant.state import MAX_KEPT_BYTES, TenantEnforcement
from streams.domain.time import iso
from streams.domain.validation import MalformedError, check_moment

_OPERATOR_ONLY = (CommandKind.EXCEPTION_GRANT, CommandKind.EXCEPTION_REVOKE, CommandKind.OVERRIDE_BUILD)


class RefusedError(ValueError):
    """A command that changes nothing; the message names the field, the value and the rule."""


def check_allowed(command: AdminCommand, is_known: bool) -> None:
    """Refuse a command that its kind, its role or its fields do not allow, or whose server is not known.

    Raises:
        RefusedError: names the field, the value and the rule.
    """
    kind, server = command.kind, command.server
    if command.malformed is not None:
        raise RefusedError(command.malformed)
    if kind is CommandKind.UNKNOWN:
        raise RefusedError("kind: UNKNOWN: not a command of this version")
    if kind in _OPERATOR_ONLY and command.role is not Role.OPERATOR:
        raise RefusedError(f"role: {command.role.value}: {kind.value} is for operators only")
    if server is None and kind not in (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_CANCEL):
        raise RefusedError(f"server: null: {kind.value} needs a server")
    if server is not None and not is_known:
        raise RefusedError(f"server: {server!r:.120}: is unknown")
    is_pause = kind in (CommandKind.PAUSE_CREATE, CommandKind.PAUSE_SERVER)
    if is_pause and (command.days is None or command.days < 1):
        raise RefusedError(f"days: {command.days}: must be 1 or more")
    if kind in (CommandKind.EXCEPTION_GRANT, CommandKind.OVERRIDE_BUILD):
        _check_texts(command)
        _check_expiry(command)


def _check_texts(command: AdminCommand) -> None:
    needed = ("owner", "reason") if command.kind is CommandKind.EXCEPTION_GRANT else ("reason",)
    for name in needed:
        if not (getattr(command, name) or "").strip():
            raise RefusedError(f"{name}: {getattr(command, name)!r}: {command.kind.value} needs one")


def _check_expiry(command: AdminCommand) -> None:
    if command.expires_at is not None:
        try:
            check_moment("expires_at", command.expires_at, None)
        except MalformedError as error:
            raise RefusedError(str(error)) from None
    if command.expires_at is None or command.expires_at <= command.issued_at:
        shown = iso(command.expires_at) if command.expires_at is not None else None
        raise RefusedError(f"expires_at: {shown}: must be after issued_at ({iso(command.issued_at)})")


def check_size(before: TenantEnforcement, after: TenantEnforcement, kind: NotificationKind) -> None:
    """Refuse a command that makes what is kept of a tenant too large; a cancelled pause is never refused for it.

    Raises:
        RefusedError: names the size in bytes and the limit.
    """
    size = after.kept_bytes
    if size > MAX_KEPT_BYTES and size > before.kept_bytes and kind is not NotificationKind.PAUSE_CANCELLED:
        raise RefusedError(
            f"server: the pauses and exceptions of this tenant would take {size} bytes: "
            f"at most {MAX_KEPT_BYTES} are kept; pause the whole tenant instead"
        )


def existing_build(text: str | None, catalogue: Catalogue) -> Build:
    """The build that a command names, in its canonical form.

    Raises:
        RefusedError: the text is no build, or the catalogue has no such build.
    """
    try:
        build = catalogue.canonical(parse_build(text or ""))
    except ValueError as error:
        raise RefusedError(str(error)) from None
    release = catalogue.at_least(build)
    if release is None or release.build != build:
        raise RefusedError(f"build: {build}: is not in the catalogue")
    return build
