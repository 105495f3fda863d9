"""Writes the rows of servers, and the names by which they are searched.

Triggers add the names of whoever writes rows in another way, as an older version does: one after the other, which takes
several times as long. Here they are told to leave it, and all new names are added at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from streams.database.upserts import PAIRS, SQLITE, Upsert, pairs_as_json
from streams.domain.keys import ServerKey
from streams.report.store.rows import Row
from streams.report.store.tables import SERVER

_SERVERS: Final = Upsert(SERVER, is_guarded=True)
_IN_PLACE: Final = Upsert(SERVER, keeps_columns=("urgency", "next_at"), is_guarded=True)
_NUMBER_TENANTS: Final = (
    "INSERT INTO tenant_number(tenant_id) SELECT DISTINCT tenant_id FROM server "
    "WHERE id > ? AND tenant_id NOT IN (SELECT tenant_id FROM tenant_number)"
)
# What stands for a tenant is said in the migration that made the index.
_ADD_NAMES_SQLITE: Final = (
    "INSERT INTO server_search(rowid, tenant, server) SELECT s.id, "
    "char(57344 + t.id / 40960000 % 6400, 57344 + t.id / 6400 % 6400, 57344 + t.id % 6400), s.server "
    "FROM server s CROSS JOIN tenant_number t ON t.tenant_id = s.tenant_id WHERE s.id > ?"
)
_ADD_NAMES: Final = f"INSERT INTO server_search SELECT a, b FROM {PAIRS} AS k(a, b) ON CONFLICT DO NOTHING"
_LEAVE_NAMES: Final = "SELECT set_config('app.names_added', %s, true)"


Urgency = tuple[int, int]
"""The columns `urgency` and `next_at` of a server."""


def upsert_servers(
    connection: Connection, rows: Mapping[ServerKey, Row], new: Sequence[ServerKey], known: Mapping[ServerKey, Urgency]
) -> None:
    """Write rows of `tables.SERVER`; a row of a later record stays.

    Args:
        connection: of a writing transaction.
        rows: the rows, by their servers.
        new: which of their servers have none yet.
        known: what the rows that are there have.
    """
    if connection.dialect.name != SQLITE:
        connection.exec_driver_sql(_LEAVE_NAMES, ("yes",))
        _SERVERS.write(connection, rows.values())
        connection.exec_driver_sql(_LEAVE_NAMES, ("",))
        if new:
            connection.exec_driver_sql(_ADD_NAMES, pairs_as_json(new))
        return
    # What is new gets a higher number than whatever is there.
    last = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM server").scalar_one()
    connection.exec_driver_sql("INSERT INTO server_names_added VALUES (1)")
    moved: list[Row] = []
    kept: list[Row] = []
    for key, row in rows.items():
        is_kept = known.get(key) == row[2:4]
        (kept if is_kept else moved).append(row)
    _SERVERS.write(connection, moved)
    # SQLite takes a row out of the index of every column that a statement sets, and puts it back in.
    _IN_PLACE.write(connection, kept)
    connection.exec_driver_sql("DELETE FROM server_names_added")
    if new:
        connection.exec_driver_sql(_NUMBER_TENANTS, (last,))
        connection.exec_driver_sql(_ADD_NAMES_SQLITE, (last,))
