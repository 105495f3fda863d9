"""A set of tables in a schema of PostgreSQL; another set is another schema, and takes its name."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from streams.database.database import ALL_TENANTS, READING, DatabaseError, Lease, is_all_tenants, transaction
from streams.database.migrating import migrate_on
from streams.database.schemas import drop_schema, own_schema, quoted
from streams.database.sets import TableSet
from streams.database.waits import STATEMENT_SECONDS, Waits
from streams.log_events import log_event

log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 5
_CONNECTIONS: Final = 8
_MIGRATION: Final = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 1))"
_SCOPE: Final = "SELECT set_config('app.tenant', :tenant, true)"
_IN_FORCE: Final = "LOCK TABLE consumer_offset IN {} MODE"
"""The first thing that a transaction does: names mean other tables once these are replaced, and so they are not until
it has ended. It comes before the first look at rows, which decides what of them is seen."""
_UNFENCED: Final = "SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)"
_LOCK_SECONDS: Final = 2
_REPLACE_SECONDS: Final = 600.0
_LOCK_NOT_AVAILABLE: Final = "55P03"


class PostgreSqlDatabase:
    """See `Database`."""

    kind = "postgresql"

    def __init__(
        self, url: str, schema: str, tables: TableSet, *, is_for: str = "", is_unfenced_allowed: bool = False
    ) -> None:
        """Open a schema of a database.

        Args:
            url: of the database.
            schema: where the tables are.
            tables: which set they are.
            is_for: the schema whose place it is to take; empty: it keeps its own.
            is_unfenced_allowed: whether the role may be one that row-level security does not hold for.
        """
        self._url, self.schema, self._tables = url, schema, tables
        self._is_for = is_for or schema
        self._is_unfenced_allowed, self._is_warned = is_unfenced_allowed, bool(is_for)
        self._engine = _engine(url, schema)
        self._waits = Waits().bound(self._engine)

    def migrate(self) -> None:
        """See `Database`."""
        with transaction(self._engine, (_MIGRATION, {"name": self.schema})) as connection:
            self._look_at_role(connection)
            own_schema(connection, self.schema, self._is_for, self._tables)
            migrate_on(connection, self._tables)

    @contextmanager
    def reading(self, tenant: str) -> Iterator[Connection]:
        """See `Database`; the tenant is that of the transaction, so a pooled connection keeps none."""
        is_all_tenants(tenant)
        statements: tuple[tuple[str, dict[str, Any]], ...] = (
            ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", {}),
            *self._in_force("ACCESS SHARE"),
            (_SCOPE, {"tenant": tenant}),
        )
        with transaction(self._engine, *statements) as connection:
            yield connection

    @contextmanager
    def writing(self, tenant: str = ALL_TENANTS) -> Iterator[Connection]:
        """See `Database`."""
        is_all_tenants(tenant)
        # What a crash takes of tables that are read anew, it takes with the offsets: it is read again.
        level = "off" if self._tables.is_rebuilt else "on"
        statements: tuple[tuple[str, dict[str, Any]], ...] = (
            (f"SET LOCAL synchronous_commit = {level}", {}),
            *self._in_force("ROW EXCLUSIVE"),
            (_SCOPE, {"tenant": tenant}),
        )
        with transaction(self._engine, *statements) as connection:
            yield connection

    def lease(self, what: str = READING) -> Lease:
        """See `Database`."""
        return AdvisoryLease(self._url, self.schema, f"{self._tables.name}/{self.schema}/{what}", self._waits)

    def fresh(self) -> Self:
        """See `Database`."""
        schema = f"{self.schema}_new"
        self._drop(schema)
        allowed = self._is_unfenced_allowed
        made = type(self)(self._url, schema, self._tables, is_for=self.schema, is_unfenced_allowed=allowed)
        made.migrate()
        return made

    def replace(self, fresh: Self) -> None:
        """See `Database`."""
        old = f"{self.schema}_old"
        self._drop(old)
        fresh.close()
        give_up_at = time.monotonic() + _REPLACE_SECONDS
        while not self._is_renamed(fresh.schema, old, is_last=time.monotonic() > give_up_at):
            time.sleep(_LOCK_SECONDS)
        self._drop(old)

    def _in_force(self, mode: str) -> tuple[tuple[str, dict[str, Any]], ...]:
        return ((_IN_FORCE.format(mode), {}),) if self._tables.is_rebuilt else ()

    def _is_renamed(self, fresh: str, old: str, *, is_last: bool) -> bool:
        """Rename the sets; whether transactions that had begun ended in time. Whoever begins one meanwhile waits."""
        try:
            with self._engine.begin() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
                connection.execute(text(_IN_FORCE.format("ACCESS EXCLUSIVE")))
                connection.execute(text(f"ALTER SCHEMA {quoted(self.schema)} RENAME TO {quoted(old)}"))
                connection.execute(text(f"ALTER SCHEMA {quoted(fresh)} RENAME TO {quoted(self.schema)}"))
        except OperationalError as error:
            if is_last or getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def size_bytes(self) -> int:
        """See `Database`."""
        statement = (
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "WHERE relnamespace = CAST(:schema AS regnamespace) AND relkind = 'r'"
        )
        with self._engine.begin() as connection:
            return int(connection.execute(text(statement), {"schema": quoted(self.schema)}).scalar() or 0)

    def free_bytes(self) -> int | None:
        """See `Database`; the server tells nobody how much room its disk has."""
        return None

    def close(self) -> None:
        """See `Database`."""
        self._waits.end()
        self._engine.dispose()

    def _look_at_role(self, connection: Connection) -> None:
        """Refuse a role that row-level security does not hold for, or warn of it where it is allowed."""
        role = connection.execute(text(_UNFENCED)).scalar()
        if role is None:
            return
        why = f"row-level security does not hold for the role {role}: it is a superuser or has BYPASSRLS"
        if not self._is_unfenced_allowed:
            raise DatabaseError(f"{why}; give the report a role of its own, or set TES_REPORT_ALLOW_UNFENCED=true")
        if not self._is_warned:
            self._is_warned = True
            log.warning("tenants are fenced by queries alone: %s", why, extra=log_event("report_unfenced", why=why))

    def _drop(self, schema: str) -> None:
        """Delete a schema of this set; it waits for the transactions that are at its tables."""
        with self._engine.begin() as connection:
            drop_schema(connection, schema, self.schema, self._tables)


class AdvisoryLease:
    """See `Lease`; a lock of a session of its own."""

    def __init__(self, url: str, schema: str, name: str, waits: Waits) -> None:
        self._engine = create_engine(_address(url), poolclass=NullPool, connect_args=_options(schema))
        waits.bound(self._engine)
        self._name = name
        self._connection: Connection | None = None

    def take(self) -> bool:
        """See `Lease`."""
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
                self._connection.commit()
            except DBAPIError:
                self.give_back()
            else:
                return True
        connection = self._engine.connect()
        try:
            asked = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
            is_taken = bool(connection.execute(asked, {"name": self._name}).scalar())
            connection.commit()
        except BaseException:
            connection.close()
            raise
        if not is_taken:
            connection.close()
            return False
        self._connection = connection
        return True

    def give_back(self) -> None:
        """See `Lease`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(SQLAlchemyError):
            # Another thread may wait on it, and whoever closes it would wait for that one.
            driver: Any = connection.connection.driver_connection
            driver.end_waits()
        with suppress(SQLAlchemyError):
            connection.close()


def _address(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _options(schema: str) -> dict[str, Any]:
    return {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "tes report",
        # Where it expects much of a question, the server would first compile it, which takes longer than any of them.
        "options": f"-c search_path={quoted(schema)},public -c statement_timeout={STATEMENT_SECONDS}s -c jit=off",
        # A server that went away is noticed, also where nothing says that it did.
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }


def _engine(url: str, schema: str) -> Engine:
    engine = create_engine(
        _address(url),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
        pool_pre_ping=True,
        # In turn, each server process would learn the tables and their plans for itself.
        pool_use_lifo=True,
        connect_args=_options(schema),
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Tables may be replaced by others of the same name, and a prepared statement is bound to those that it knew.
        connection.prepare_threshold = None

    return engine
