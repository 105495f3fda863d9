"""A set of tables: opened, migrated, read and written in transactions.

There may be several sets at once, of which one is in force: a rebuild fills another one and puts it in the place of the
first. Whoever opens a transaction gets the set that is in force then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from streams.database.sets import TableSet
from streams.kafka.secret_files import SecretFileError, read_secret
from streams.settings.base import refuse
from streams.settings.database import DatabaseSettings


class AllTenants(str):
    """In the place of a tenant: rows of all. A text that says the same, as it may come from a request, is none."""

    __slots__ = ()


ALL_TENANTS: Final = AllTenants("*")


def is_all_tenants(tenant: str) -> bool:
    """Whether rows of all tenants are asked for.

    Raises:
        ValueError: this is a text that would be taken for all of them.
    """
    if isinstance(tenant, AllTenants):
        return True
    if tenant == ALL_TENANTS:
        raise ValueError(f"tenant: {tenant!r}: must be the name of one")
    return False


READING: Final = "reading"
"""What one process at a time does: it writes what it reads from the topics."""
REBUILDING: Final = "rebuilding"


Settings = TypeVar("Settings", bound=DatabaseSettings)


class DatabaseError(RuntimeError):
    """The database cannot be used as it is; waiting does not help. The message says what to do."""


class Lease(Protocol):
    """A right that one process at a time has. It goes with the process."""

    def take(self) -> bool:
        """Whether this process has it now.

        Raises:
            DBAPIError, OSError: the database does not answer.
        """

    def give_back(self) -> None:
        """Let another process have it."""


class Database(Protocol):
    """The set of tables that is in force, or another one."""

    kind: str

    def migrate(self) -> None:
        """Make the tables, or bring those of an older version up to date; one process at a time.

        Raises:
            DatabaseError: they are of a newer version, or the database would not fence tenants.
            DBAPIError: the database does not answer.
        """

    def reading(self, tenant: str) -> AbstractContextManager[Connection]:
        """A transaction that only reads, and sees one state of the rows of a tenant, or of `ALL_TENANTS`.

        Raises:
            ValueError: the tenant is a text that would be taken for all of them.
            DBAPIError: the database does not answer.
        """

    def writing(self, tenant: str = ALL_TENANTS) -> AbstractContextManager[Connection]:
        """A transaction that writes rows of a tenant, or of all; committed at its end, rolled back where one raises.

        Raises:
            ValueError: the tenant is a text that would be taken for all of them.
            DBAPIError: the database does not answer, or cannot write.
        """

    def lease(self, what: str = READING) -> Lease:
        """The right to do something that one process at a time may do with these tables."""

    def fresh(self) -> Self:
        """Another set beside this one, empty and migrated; what an earlier attempt left of it is gone."""

    def replace(self, fresh: Self) -> None:
        """Put a fresh set in force in the place of this one, at once for everybody; this one is deleted.

        Raises:
            DBAPIError: the database does not answer.
        """

    def size_bytes(self) -> int:
        """Disk that the tables take; 0 where it cannot be said."""

    def free_bytes(self) -> int | None:
        """Disk that they may still take; None where it cannot be said."""

    def close(self) -> None:
        """Close all connections; what another thread waits for on them fails soon."""


@contextmanager
def transaction(engine: Engine, *statements: tuple[str, dict[str, Any]]) -> Iterator[Connection]:
    """A transaction that begins with some statements."""
    with engine.begin() as connection:
        for statement, values in statements:
            connection.execute(text(statement), values)
        yield connection


def reason_of(error: BaseException) -> str:
    """A failure in one line, without the statement that failed."""
    cause = getattr(error, "orig", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:500]


def is_passing(error: BaseException) -> bool:
    """Whether an error may be gone later: the database does not answer, is locked, full, or refuses a right."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state)[:2] not in _OF_ROWS
    return isinstance(error, OperationalError) or type(error).__name__ not in _OURS


_OF_ROWS: Final = ("22", "23", "54")
"""Classes of PostgreSQL's errors that a row is to blame for: its values, its keys, its size. Statements are always the
same: one that is wrong now lacks a right or a table."""
_OURS: Final = ("IntegrityError", "DataError", "ProgrammingError")
"""Likewise, where the database tells no class."""


def with_address(settings: Settings) -> Settings:
    """The settings with the address of the database that their file holds.

    Raises:
        SettingsError: the file cannot be read, or holds none.
    """
    if not settings.database_file:
        return settings
    try:
        address = read_secret(Path(settings.database_file))
    except SecretFileError as error:
        raise refuse(settings, "database_file", error.rule) from None
    return replace(settings, database=address, database_file="")


def open_set(settings: DatabaseSettings, tables: TableSet) -> Database:
    """A set of tables in the database that the settings name; nothing is asked of it yet.

    Raises:
        SettingsError: the file with its address cannot be read, or holds none.
    """
    settings = with_address(settings)
    if settings.database:
        from streams.database.postgresql import PostgreSqlDatabase

        schema = settings.schema if tables.is_rebuilt else f"{settings.schema}_{tables.name}"
        return PostgreSqlDatabase(settings.database, schema, tables, is_unfenced_allowed=settings.allow_unfenced)
    from streams.database.sqlite import SqliteDatabase

    file = None if tables.is_rebuilt else settings.folder / f"{tables.name}.db"
    return SqliteDatabase(settings.folder, tables, file)
