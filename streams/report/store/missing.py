"""Forgets rows of what the compacted topics do not hold any more, where their tombstones were missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, select, tuple_

from streams.database.database import Database
from streams.database.positions import MovedError
from streams.database.upserts import delete
from streams.domain.keys import ServerKey
from streams.kafka.places import Place
from streams.report.model.batch import SERVERS, VERDICTS
from streams.report.store.folding import forget
from streams.report.store.tables import SERVER, VERDICT
from streams.report.store.upkeep import note_changes
from streams.report.store.writer import locked_positions

_TABLES: Final[Mapping[str, Table]] = {SERVERS: SERVER, VERDICTS: VERDICT}
_ROWS_AT_ONCE: Final = 5_000


class Held(NamedTuple):
    """What compacted topics were found to hold, read from their beginning.

    `sources` names the topic behind each whole name, `topics` the schema. `keys` are by schema. `begun` has the ends of
    the partitions before the reading, `ended` those after it; one that `begun` leaves out was not read whole.
    """

    sources: Mapping[str, str]
    topics: Mapping[str, str]
    keys: Mapping[str, AbstractSet[bytes]]
    begun: Mapping[Place, int]
    ended: Mapping[Place, int]


def forget_missing(database: Database, held: Held, at: int) -> int:
    """Forget, at a moment (UTC milliseconds), the rows of keys that the topics do not hold; returns their number.

    A row that the topics told of since the reading began stays: its key may have moved behind what was read. Any other
    was there to be read: what compaction deleted of its key meanwhile has a later record, and the tables have that.

    Raises:
        MovedError: the tables have not come as far as the reading.
        TopicReplacedError: a topic is another one.
        DBAPIError: the database does not answer.
    """
    return sum(_forget_in(database, held, topic, name, at) for topic, name in held.topics.items())


def _forget_in(database: Database, held: Held, topic: str, name: str, at: int) -> int:
    forgotten, last = 0, ("", "")
    while True:
        with database.writing() as connection:
            known = locked_positions(connection, held.sources)
            for place, end in held.ended.items():
                position = known.get(place, 0)
                if position < end:
                    raise MovedError(f"{place.topic}-{place.partition}: offset {position} is next, and not {end}")
            table = _TABLES[name].c
            asked = select(table.tenant_id, table.server, table.partition, table.source_offset)
            key = (table.tenant_id, table.server)
            asked = asked.where(tuple_(*key) > tuple_(*last)).order_by(*key).limit(_ROWS_AT_ONCE)
            rows = connection.execute(asked).all()
            if not rows:
                return forgotten
            last = (rows[-1].tenant_id, rows[-1].server)
            missing = [
                ServerKey(tenant_id, server)
                for tenant_id, server, partition, offset in rows
                if offset < held.begun.get(Place(topic, partition), 0)
                and f"{tenant_id}/{server}".encode() not in held.keys[name]
            ]
            _forget(connection, name, missing, at)
            forgotten += len(missing)


def _forget(connection: Connection, name: str, keys: Sequence[ServerKey], at: int) -> None:
    if not keys:
        return
    if name == SERVERS:
        forget(connection, keys, at)
    else:
        delete(connection, _TABLES[name], keys)
        note_changes(connection, Counter(key.tenant_id for key in keys))
