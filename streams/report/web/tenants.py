"""Whose rows a request is about: the caller's tenant, or the one that an operator names."""

from __future__ import annotations

from http import HTTPStatus

from streams.database.database import ALL_TENANTS, is_all_tenants
from streams.report.access.callers import Caller
from streams.report.web.problems import Problem, not_found


def tenant_of(caller: Caller, named: str | None) -> str:
    """The tenant that a request is about; `ALL_TENANTS` for an operator that names none.

    Raises:
        Problem: another tenant is named by somebody who may see only one; it is not said whether there is such a one.
    """
    if named in ("", ALL_TENANTS):
        raise Problem(HTTPStatus.BAD_REQUEST, f"tenant: {named[:80]!r:.100}: must be the id of a tenant")
    if caller.tenant is None:
        return ALL_TENANTS if named is None else named
    if named is not None and named != caller.tenant:
        raise not_found("tenant", named)
    return caller.tenant


def one_tenant_of(caller: Caller, named: str | None) -> str:
    """Likewise, where it has to be one.

    Raises:
        Problem: as `tenant_of`, or an operator names none.
    """
    tenant = tenant_of(caller, named)
    if is_all_tenants(tenant):
        raise Problem(HTTPStatus.BAD_REQUEST, "tenant: missing: an operator must name one")
    return tenant
