"""Schemas of PostgreSQL that are a set's own: each is marked by its comment, and no other one is deleted."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from streams.database.database import DatabaseError
from streams.database.sets import TableSet

_LOOK: Final = (
    "SELECT obj_description(oid, 'pg_namespace') AS mark, pg_has_role(nspowner, 'USAGE') AS is_owner, "
    "EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid) AS is_used, "
    "(SELECT count(*) FROM pg_class WHERE relnamespace = n.oid "
    "AND relname = ANY (:marks)) = cardinality(:marks) AS has_ours "
    "FROM pg_namespace n WHERE nspname = :schema"
)


def quoted(schema: str) -> str:
    """A name as statements have it, also where it is a word of the language."""
    return '"' + schema.replace('"', '""') + '"'


def own_schema(connection: Connection, schema: str, is_for: str, tables: TableSet) -> None:
    """Make a schema unless it is there, and mark it as a set's, which it is for or will be.

    Raises:
        DatabaseError: it has tables of others.
    """
    found = connection.execute(text(_LOOK), {"schema": schema, "marks": list(tables.marks)}).first()
    if found is None:
        connection.execute(text(f"CREATE SCHEMA {quoted(schema)}"))
    elif found.mark == _mark(is_for, tables):
        return
    elif found.is_used and not found.has_ours:
        raise DatabaseError(
            f"TES_REPORT_SCHEMA: {schema}: this schema has tables that are not those of tes {tables.name}, and a "
            "rebuild would delete them: name one that is only the report's"
        )
    elif not found.is_owner:
        return  # it can be read and written, and not be replaced
    connection.execute(text(f"COMMENT ON SCHEMA {quoted(schema)} IS '{_mark(is_for, tables)}'"))


def drop_schema(connection: Connection, schema: str, is_for: str, tables: TableSet) -> None:
    """Delete a schema, if it is there, that a set made for the place of another one.

    Raises:
        DatabaseError: somebody else made it.
    """
    found = connection.execute(text(_LOOK), {"schema": schema, "marks": list(tables.marks)}).first()
    if found is None:
        return
    if found.mark != _mark(is_for, tables):
        raise DatabaseError(
            f"the schema {schema} is not one that a rebuild of {is_for} left: rename it, or name another schema by "
            "TES_REPORT_SCHEMA"
        )
    connection.execute(text(f"DROP SCHEMA {quoted(schema)} CASCADE"))


def _mark(is_for: str, tables: TableSet) -> str:
    return f"tes {tables.name}: {tables.about} of {is_for}"
