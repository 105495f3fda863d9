"""The tenant in a query."""

from __future__ import annotations

from sqlalchemy import ColumnElement, literal

from streams.database.database import is_all_tenants


def of_tenant(column: ColumnElement[str], tenant: str) -> ColumnElement[bool]:
    """The condition for rows of a tenant; it stands in every query, beside the fence of the database.

    Raises:
        ValueError: the tenant is a text that would be taken for all of them.
    """
    return literal(value=True) if is_all_tenants(tenant) else column == tenant
