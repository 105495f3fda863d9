"""Administrator commands to the tenant of `episodes`, and their outcomes."""

from __future__ import annotations

from itertools import count
from typing import Any

from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.service.simulation import Simulation

SERVER = "mx1.example.com"
_ids = count()


def command(kind: CommandKind, issued_at: int, **fields: Any) -> AdminCommand:
    role = Role.OPERATOR if kind in (CommandKind.EXCEPTION_GRANT, CommandKind.OVERRIDE_BUILD) else Role.TENANT_ADMIN
    if kind is CommandKind.EXCEPTION_REVOKE:
        role = Role.OPERATOR
    fields = {"command_id": f"command-{next(_ids)}", "issued_by": "admin", "role": role} | fields
    return AdminCommand(tenant_id="contoso", issued_at=issued_at, kind=kind, **fields)


def audit(simulation: Simulation) -> list[tuple[str, int | None]]:
    return [(record.outcome.value, record.quota_left_days) for record in simulation.results.audit]


def pause(issued_at: int, days: int, **fields: Any) -> AdminCommand:
    return command(CommandKind.PAUSE_CREATE, issued_at, days=days, **fields)
