"""Writes many rows of a table at once: by long statements in SQLite, by COPY into a staging table in PostgreSQL.

No two rows of one call have the same key: PostgreSQL refuses to change a row twice in one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import Connection, Table, Text
from sqlalchemy.exc import DBAPIError

Row = tuple[Any, ...]
Key = TypeVar("Key")
SQLITE: Final = "sqlite"
_KEYS_AT_ONCE: Final = 500
_MOST_VALUES: Final = 30_000
"""Of a statement; SQLite takes some more."""


class Upsert:
    """A statement that puts rows, in the order of a table's columns, into the place of those with the same key."""

    def __init__(
        self,
        table: Table,
        *,
        adds: Sequence[str] = (),
        keeps_columns: Sequence[str] = (),
        keeps: bool = False,
        is_guarded: bool = False,
    ) -> None:
        """Write rows of a table.

        Args:
            table: the table.
            adds: columns that grow by the new row's; the others become the new row's.
            keeps_columns: columns that stay as they are.
            keeps: whether a row that is there stays as it is.
            is_guarded: whether a row of a later record of the same partition stays as it is.
        """
        self._table = table.name
        # Numbers are packed for the widest type, and checked on their way to their own: packing would cut them off.
        self._types = ["text" if isinstance(column.type, Text) else "int8" for column in table.columns]
        self._columns = [column.name for column in table.columns]
        keys = [column.name for column in table.primary_key.columns]
        changed = [name for name in self._columns if name not in {*keys, *keeps_columns}]
        updates = [
            f'"{name}" = {table.name}."{name}" + excluded."{name}"' if name in adds else f'"{name}" = excluded."{name}"'
            for name in changed
        ]
        action = "NOTHING" if keeps else f"UPDATE SET {', '.join(updates)}"
        if is_guarded:
            action += (
                f' WHERE {table.name}."partition" <> excluded."partition"'
                f" OR {table.name}.source_offset < excluded.source_offset"
            )
        named = ", ".join(f'"{name}"' for name in self._columns)
        self._insert = f"INSERT INTO {table.name} ({named})"
        self._conflict = f"ON CONFLICT ({', '.join(keys)}) DO {action}"
        self._named = named
        # Whoever waits for a statement lets other threads work, and waits for them again behind it: few statements of
        # many rows cost less, and run while another batch is decoded.
        self._blocks = [(size, self._statement(size)) for size in _sizes(_MOST_VALUES // len(self._columns))]
        self._one = self._statement(1)

    def _statement(self, rows: int) -> str:
        marks = f"({', '.join('?' * len(self._columns))})"
        return f"{self._insert} VALUES {', '.join([marks] * rows)} {self._conflict}"

    def write(self, connection: Connection, rows: Iterable[Row]) -> None:
        """Write rows; they may be made while they are written."""
        if connection.dialect.name == SQLITE:
            self._insert_all(connection, list(rows))
            return
        rows = iter(rows)
        first = next(rows, None)
        if first is not None:
            self._copy(connection, chain((first,), rows))

    def _insert_all(self, connection: Connection, rows: list[Row]) -> None:
        begin = 0
        for size, statement in self._blocks:
            while len(rows) - begin >= size:
                values = tuple(chain.from_iterable(rows[begin : begin + size]))
                connection.exec_driver_sql(statement, values)
                begin += size
        if begin < len(rows):
            connection.exec_driver_sql(self._one, rows[begin:])

    def _copy(self, connection: Connection, rows: Iterable[Row]) -> None:
        stage = f"stage_{self._table}"
        columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(self._columns, self._types, strict=True))
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({columns}) ON COMMIT DELETE ROWS")
        driver: Any = connection.connection.driver_connection
        known: Any = connection.dialect.loaded_dbapi
        try:
            into = f"COPY {stage} ({self._named}) FROM STDIN (FORMAT BINARY)"
            with driver.cursor() as cursor, cursor.copy(into) as copy:
                copy.set_types(self._types)
                for row in rows:
                    copy.write_row(row)
        except known.Error as error:
            # What does not come through SQLAlchemy has to look as if it did.
            raise DBAPIError.instance(f"COPY {stage}", None, error, known.Error) from error
        connection.exec_driver_sql(f"{self._insert} SELECT {self._named} FROM {stage} {self._conflict}")
        connection.exec_driver_sql(f"TRUNCATE {stage}")


def _sizes(most: int) -> Iterator[int]:
    """How many rows statements have, falling: any number of rows takes few statements."""
    size = most
    while size > 1:
        yield size
        size //= 4


def delete(connection: Connection, table: Table, keys: Iterable[Row]) -> None:
    """Delete the rows with these keys, each the first columns of the table's key."""
    keys = list(keys)
    if keys:
        mark = "?" if connection.dialect.name == SQLITE else "%s"
        columns = [column.name for column in table.primary_key.columns][: len(keys[0])]
        where = " AND ".join(f"{name} = {mark}" for name in columns)
        connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE {where}", keys)


PAIRS: Final = "ROWS FROM (json_array_elements_text(%s::json), json_array_elements_text(%s::json))"
"""Pairs as rows in PostgreSQL, from `pairs_as_json`: packing them into arrays takes many times as long."""


def pairs_as_json(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What `PAIRS` takes."""
    return orjson.dumps([a for a, _ in pairs]).decode(), orjson.dumps([b for _, b in pairs]).decode()


def select_by_pairs(connection: Connection, columns: str, table: Table, pairs: Sequence[tuple[str, str]]) -> list[Any]:
    """The rows whose key, a tenant and one more, is one of these; unknown ones have none."""
    first, second = (column.name for column in list(table.primary_key.columns)[:2])
    if connection.dialect.name != SQLITE:
        if not pairs:
            return []
        statement = f"SELECT {columns} FROM {PAIRS} AS k(a, b) JOIN {table.name} ON {first} = k.a AND {second} = k.b"
        return list(connection.exec_driver_sql(statement, pairs_as_json(pairs)))
    # Before and behind each row that is fetched, other threads get their turn, and are waited for: all come as one.
    statement = (
        f"SELECT json_group_array(json_array({columns})) FROM json_each(?) k CROSS JOIN {table.name} t "
        f"ON t.{first} = json_extract(k.value, '$[0]') AND t.{second} = json_extract(k.value, '$[1]')"
    )
    asked = orjson.dumps([[a, b] for a, b in pairs]).decode()
    found: list[Any] = orjson.loads(connection.exec_driver_sql(statement, (asked,)).scalar_one())
    return found


def pieces(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Keys in pieces that a statement takes as its values, in order."""
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[begin : begin + _KEYS_AT_ONCE]
