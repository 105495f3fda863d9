"""A compacted topic as a map: the last value of each key, read to the end and then followed.

A record without a value is a tombstone: its key is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from streams.kafka.follower import Log, TopicFollower
from streams.kafka.reader import report_unread
from streams.kafka.unread import UnreadBatch

Row = TypeVar("Row")


class CompactedTable(Generic[Row]):
    """The rows of a compacted topic, `rows` by key.

    Used as a context manager it holds, from the beginning on, all that the topic held when it was entered.
    """

    def __init__(
        self,
        log: Log,
        decode: Callable[[bytes], Row],
        *,
        keys: Collection[bytes] | None = None,
        write: Callable[[Mapping[bytes, Row | None]], None] | None = None,
        on_unread: Callable[[UnreadBatch], None] = report_unread,
        on_undecodable: Callable[[Any, ValueError], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the rows of a topic.

        Args:
            log: the topic.
            decode: reads a value; raises ValueError where it is none.
            keys: only these; None for all.
            write: takes the changes of each batch, None for a row that is gone; without it they go to `rows`.
            on_unread: takes a batch that cannot be read; what it raises ends the reading.
            on_undecodable: takes a record that `decode` refuses, and the error. Its key keeps the row that it has.
                Without it the error ends the reading.
            clock: returns seconds.
        """
        self.rows: dict[bytes, Row] = {}
        self._follower = TopicFollower(log, clock)
        self._decode, self._keys, self._write = decode, keys, write or self._keep
        self._on_unread, self._on_undecodable = on_unread, on_undecodable

    async def start(self) -> None:
        """Read the topic to its end.

        Raises:
            TopicError: it does not exist.
            ValueError: a record is none of this table, and nobody takes those.
        """
        await self._follower.start()
        try:
            await self.catch_up()
        except BaseException:
            await self._follower.stop()
            raise

    async def stop(self) -> None:
        """End the reading; the rows stay."""
        await self._follower.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def catch_up(self) -> None:
        """Read up to the end as it is now.

        Raises:
            ValueError: See `start`.
        """
        async for records in self._follower.read_to_end():
            self._apply(records)

    async def poll(self) -> Collection[bytes]:
        """Read what arrives within a moment; returns the keys whose rows changed or are gone.

        Raises:
            ValueError: See `start`.
        """
        return self._apply(await self._follower.poll())

    @property
    def staleness_seconds(self) -> float:
        """How long ago these were last known to be all rows; infinite before."""
        return self._follower.staleness_seconds

    def _apply(self, records: Iterable[Any]) -> Collection[bytes]:
        changes: dict[bytes, Row | None] = {}
        for record in records:
            if isinstance(record, UnreadBatch):
                self._on_unread(record)
            elif record.key is not None and (self._keys is None or record.key in self._keys):
                try:
                    changes[record.key] = None if record.value is None else self._decode(record.value)
                except ValueError as error:
                    if self._on_undecodable is None:
                        raise
                    self._on_undecodable(record, error)
        if changes:
            self._write(changes)
        return changes.keys()

    def _keep(self, changes: Mapping[bytes, Row | None]) -> None:
        for key, row in changes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row


async def read_table(
    log: Log, decode: Callable[[bytes], Row], keys: Collection[bytes] | None = None
) -> dict[bytes, Row]:
    """The rows of a compacted topic as they are now.

    Raises:
        TopicError: it does not exist.
        ValueError: a record is none of this table.
    """
    async with CompactedTable(log, decode, keys=keys) as table:
        return table.rows
