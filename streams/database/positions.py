"""How far topics were read, beside what was read of them; written in the same transactions."""

from __future__ import annotations

from sqlalchemy import Connection, Table, update

from streams.kafka.places import Place


class MovedError(RuntimeError):
    """The tables have not come as far as a batch begins: another reader, or another set of tables."""


def move_position(connection: Connection, table: Table, place: Place, source: str, known: int, end: int) -> None:
    """Set how far a partition was read.

    Args:
        connection: of the transaction that writes what was read.
        table: of positions, by topic, `topic_id` and partition.
        place: the partition.
        source: the topic behind its name.
        known: where the partition was when this transaction began.
        end: where it is now.

    Raises:
        MovedError: it was not read as far as was known; what was written is for nothing.
    """
    columns = table.c
    here = (columns.topic == place.topic, columns.topic_id == source, columns.partition == place.partition)
    moved = update(table).where(*here, columns.position == known).values(position=end)
    if connection.execute(moved).rowcount != 1:
        raise MovedError(f"{place.topic}-{place.partition}: offset {known} is not next any more")
