"""Grants and revokes exceptions of servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from streams.domain.tenant.state import ExceptionGrant, TenantEnforcement, with_entry


def grant(tenant: TenantEnforcement, server: str, granted: ExceptionGrant) -> TenantEnforcement:
    """Except one server; the new exception takes the place of one that holds already."""
    grants = tenant.exceptions.get(server, ())
    current = _holding(grants, granted.starts_at)
    if current is not None:
        granted = granted._replace(starts_at=current.starts_at)
    kept = (item for item in grants if item is not current)
    return replace(tenant, exceptions=with_entry(tenant.exceptions, server, (*kept, granted)))


def revoke(tenant: TenantEnforcement, server: str, at: int) -> TenantEnforcement | None:
    """End the exception of a server; None when none holds."""
    grants = tenant.exceptions.get(server, ())
    current = _holding(grants, at)
    if current is None:
        return None
    ended = (item._replace(ends_at=at) if item is current else item for item in grants)
    return replace(tenant, exceptions=with_entry(tenant.exceptions, server, ended))


def _holding(grants: Iterable[ExceptionGrant], at: int) -> ExceptionGrant | None:
    return next((item for item in grants if item.starts_at <= at < item.ends_at), None)
