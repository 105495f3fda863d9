"""States of servers and tenants, each with its row."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import Identity
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.state import TenantEnforcement
from streams.state.keys import server_key, tenant_key
from streams.state.server_row import encode_state
from streams.state.tenant_row import encode_tenant
from tests.golden.values import bare, full, hints_of


def states() -> dict[str, tuple[Any, int | None]]:
    """Names of states, the states, and the moments that the due index holds for them."""
    server: ServerEnforcement = full(ServerEnforcement)
    tenant: TenantEnforcement = full(TenantEnforcement)
    flags: list[Any] = [item.name for item in fields(server) if hints_of(ServerEnforcement)[item.name] is bool]
    return {
        "server": (server, 999_983),
        "server, all that may be empty is": (bare(server), None),
        "server, a build without an update": (replace(server, build=Build(15, 1, 2507, None)), None),
        **{f"server, {name}": (replace(server, **dict[str, Any]({name: True})), None) for name in flags},
        **{
            f"server, {finding}": (replace(server, judgement=replace(server.judgement, finding=finding)), None)
            for finding in Finding
        },
        **{f"server, {kind}": (replace(server, connector_type=kind, judged_over=kind), None) for kind in ConnectorType},
        **{f"server, known by {kind}": (replace(server, identity=kind), None) for kind in Identity},
        "tenant": (tenant, 999_983),
        "tenant, all that may be empty is": (bare(tenant), None),
    }


def encoded(state: Any, due_at: int | None) -> bytes:
    """The row of a state."""
    return (encode_state if isinstance(state, ServerEnforcement) else encode_tenant)(state, due_at)


def key_of(state: Any) -> bytes:
    """The key of its row."""
    if isinstance(state, ServerEnforcement):
        return server_key(state.key)
    return tenant_key(state.tenant_id)
