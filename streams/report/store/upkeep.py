"""What is done to the tables beside writing records: how current they are, and what has grown too old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, delete, select, text

from streams.database.database import Database
from streams.database.upserts import SQLITE, Upsert
from streams.domain.time import DAY_MS
from streams.report.store.tables import (
    AUDIT,
    COMMAND,
    CONSUMER_OFFSET,
    FACT,
    METADATA,
    NOTIFICATION,
    SERVER_DAY,
    SERVER_FORGOTTEN,
    SERVER_INTERVAL,
    TENANT_VERSION,
    UNREADABLE,
)

CURRENT_AT: Final = "current_at"
"""When the tables were last known to show everything that the topics held, UTC milliseconds."""
BEGUN_AT: Final = "begun_at"
"""When the first record was about to be read, UTC milliseconds."""
_FACTS: Final = Upsert(FACT)
_VERSIONS: Final = Upsert(TENANT_VERSION, adds=("n",))
_DAYS: Final = Upsert(SERVER_DAY, adds=("change", "accepted", "delayed", "refused"))


def set_fact(connection: Connection, name: str, value: str) -> None:
    """Write what holds for the whole model."""
    _FACTS.write(connection, [(name, value)])


def fact(connection: Connection, name: str) -> str | None:
    """What holds for the whole model; None where it was not written yet."""
    return connection.execute(select(FACT.c.value).where(FACT.c.name == name)).scalar()


def note_current(database: Database, at: int) -> None:
    """Write when the tables were last known to be current."""
    with database.writing() as connection:
        set_fact(connection, CURRENT_AT, str(at))


def current_at(connection: Connection) -> int | None:
    """When the tables were last known to be current, UTC milliseconds; None where they never were."""
    known = fact(connection, CURRENT_AT)
    return None if known is None else int(known)


def known_since(database: Database, now: int) -> int:
    """The moment (UTC milliseconds) up to which the tables are known to have missed nothing.

    Where they were never current, it is when they were begun, which is now where they are empty.
    """
    with database.writing() as connection:
        known = fact(connection, CURRENT_AT) or fact(connection, BEGUN_AT)
        if known is not None:
            return int(known)
        if connection.execute(select(CONSUMER_OFFSET).limit(1)).first() is not None:
            return 0
        set_fact(connection, BEGUN_AT, str(now))
        return now


def note_changes(connection: Connection, changes: Mapping[str, int]) -> None:
    """What is shown of some tenants has changed, so many times; their versions grow."""
    _VERSIONS.write(connection, sorted(changes.items()))


def prune(database: Database, first_day: int) -> None:
    """Delete history in front of a UTC day since 1970; how many servers there were then goes into that day.

    Intervals that have not ended by then stay, and so does what a server's row shows.
    """
    moment = first_day * DAY_MS
    days = SERVER_DAY.c
    with database.writing() as connection:
        key = (days.tenant_id, days.status, days.stage)
        came_to: Counter[tuple[str, str, int]] = Counter()
        for day in connection.execute(select(days.day).distinct().where(days.day < first_day)).scalars().all():
            # In one statement, so that what another transaction adds meanwhile is in both or in none.
            gone = delete(SERVER_DAY).where(days.day == day).returning(*key, days.change)
            for tenant_id, status, stage, change in connection.execute(gone):
                came_to[tenant_id, status, stage] += change
        opening = [
            (tenant_id, first_day, status, stage, n, 0, 0, 0)
            for (tenant_id, status, stage), n in sorted(came_to.items())
            if n
        ]
        _DAYS.write(connection, opening)
        note_changes(connection, dict.fromkeys((tenant_id for tenant_id, _, _ in came_to), 1))
    with database.writing() as connection:
        changed: set[str] = set()
        for ended_at in (SERVER_INTERVAL.c.ends_at, *(table.c.occurred_at for table in (NOTIFICATION, AUDIT, COMMAND))):
            gone = delete(ended_at.table).where(ended_at < moment).returning(ended_at.table.c.tenant_id)
            changed.update(connection.execute(gone).scalars())
        note_changes(connection, dict.fromkeys(changed, 1))
        connection.execute(delete(SERVER_FORGOTTEN).where(SERVER_FORGOTTEN.c.forgotten_at < moment))
        connection.execute(delete(UNREADABLE).where(UNREADABLE.c.written_at < moment))


def analyze(database: Database) -> None:
    """Have the database look at what its tables hold, so that it plans queries by it."""
    with database.writing() as connection:
        names = list(METADATA.tables)
        if connection.dialect.name == SQLITE:
            # So many rows of each index are enough to see how its values are spread.
            connection.execute(text("PRAGMA analysis_limit = 1000"))
        else:
            names.append("server_search")
        for table in names:
            connection.execute(text(f"ANALYZE {table}"))
