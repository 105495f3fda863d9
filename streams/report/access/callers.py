"""Who calls, and what each role may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

Connection = ASGIConnection[BaseRouteHandler, "Caller", Any, Any]
"""A request of a known caller."""


class AccessRole(StrEnum):
    """What a caller may do; each may do what those before it may, an operator for every tenant."""

    TENANT_READER = "tenant-reader"
    """See what concerns its tenant."""
    TENANT_ADMIN = "tenant-admin"
    """Pause enforcement for its tenant, too."""
    OPERATOR = "operator"
    """See every tenant, grant exceptions and override builds."""


class Caller(NamedTuple):
    """Somebody who was identified.

    `subject` is who it is for good: limits are counted by it. `name` is shown, and stands in audit records. `tenant` is
    the one whose rows it sees; None for an operator, who sees all of them.
    """

    subject: str
    name: str
    role: AccessRole
    tenant: str | None


def require_admin(connection: Connection, _: BaseRouteHandler) -> None:
    """Let administrators and operators in.

    Raises:
        PermissionDeniedException: the caller may only read.
    """
    if connection.user.role is AccessRole.TENANT_READER:
        raise PermissionDeniedException(f"role: {connection.user.role}: must be tenant-admin or operator")


def require_operator(connection: Connection, _: BaseRouteHandler) -> None:
    """Let operators in.

    Raises:
        PermissionDeniedException: the caller is none.
    """
    if connection.user.role is not AccessRole.OPERATOR:
        raise PermissionDeniedException(f"role: {connection.user.role}: must be operator")
