"""A tenant's state as bytes: one format byte, then a JSON object."""

from __future__ import annotations

from typing import Any

import orjson

from streams.domain.tenant.quota import PaidDays, YearUse
from streams.domain.tenant.state import ExceptionGrant, Pause, TenantEnforcement
from streams.state.row_format import STATE_FORMAT, check_format, read_json


def encode_tenant(tenant: TenantEnforcement, indexed_due_at: int | None) -> bytes:
    """A tenant's state, and the moment under which the due index holds it."""
    content = {
        "tenant_id": tenant.tenant_id,
        "clock_at": tenant.clock_at,
        "pauses": _pause_lists(tenant.pauses),
        "server_pauses": {server: _pause_lists(pauses) for server, pauses in tenant.server_pauses.items()},
        "exceptions": {server: _grant_lists(grants) for server, grants in tenant.exceptions.items()},
        "seen_commands": tenant.seen_commands,
        "used": [[year, use.days, use.time_ms] for year, use in tenant.used.items()],
        "indexed_due_at": indexed_due_at,
    }
    return bytes((STATE_FORMAT,)) + orjson.dumps(content)


def decode_tenant(value: bytes) -> tuple[TenantEnforcement, int | None]:
    """A tenant's state and its indexed due moment.

    Raises:
        StoreError: the format is unknown; the worker must stop, not guess.
    """
    check_format(value)
    content = read_json(value[1:])
    indexed_due_at: int | None = content["indexed_due_at"]
    return TenantEnforcement(
        tenant_id=content["tenant_id"],
        clock_at=content["clock_at"],
        pauses=_pauses(content["pauses"]),
        server_pauses={server: _pauses(rows) for server, rows in content["server_pauses"].items()},
        exceptions={server: _grants(rows) for server, rows in content["exceptions"].items()},
        seen_commands=tuple(content["seen_commands"]),
        used={year: YearUse(days=days, time_ms=time_ms) for year, days, time_ms in content["used"]},
    ), indexed_due_at


def _pause_lists(pauses: tuple[Pause, ...]) -> list[list[Any]]:
    return [[pause.starts_at, pause.ends_at, [[paid.starts_at, paid.days] for paid in pause.paid]] for pause in pauses]


def _pauses(rows: list[Any]) -> tuple[Pause, ...]:
    return tuple(
        Pause(starts_at=starts_at, ends_at=ends_at, paid=tuple(PaidDays(starts_at=at, days=days) for at, days in paid))
        for starts_at, ends_at, paid in rows
    )


def _grant_lists(grants: tuple[ExceptionGrant, ...]) -> list[list[Any]]:
    return [[grant.starts_at, grant.ends_at, grant.owner, grant.reason] for grant in grants]


def _grants(rows: list[Any]) -> tuple[ExceptionGrant, ...]:
    return tuple(
        ExceptionGrant(starts_at=starts_at, ends_at=ends_at, owner=owner, reason=reason)
        for starts_at, ends_at, owner, reason in rows
    )
