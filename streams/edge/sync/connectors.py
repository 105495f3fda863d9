"""Keeps the published connectors on disk as their topic has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from streams.edge.store.table import TableReplacedError, VerdictTable
from streams.edge.sync.following import Follower, Following
from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.kafka.reader import report_unread
from streams.kafka.unread import UnreadBatch
from streams.wire.codec import AvroCodec

log = logging.getLogger(__name__)


class ConnectorFollower(Follower):
    """Reads the connectors' topic; a connector whose newest record cannot be read stays as it is."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        codec: AvroCodec,
        table: VerdictTable,
        timing: Timing,
        clock: Callable[[], int],
    ) -> None:
        """Follow a topic into a table; `clock` returns UTC milliseconds."""
        super().__init__(cluster, topic, timing)
        self._codec, self._table, self._clock = codec, table, clock
        self._openings = 0
        self._changes: dict[bytes, bytes | None] = {}
        self._kept: set[bytes] = set()
        self._is_complete = self._has_unread = False
        self.unreadable = 0

    async def _begin(self, following: Following) -> None:
        await super()._begin(following)
        self._openings = self._table.openings
        self._changes, self._kept = {}, set()
        self._is_complete = self._has_unread = False

    async def _take(self, records: Sequence[Any], complete_at: int | None) -> None:
        # A registry may be asked, and the events go on meanwhile.
        await asyncio.to_thread(self._read, records)
        if self._table.openings != self._openings:
            raise TableReplacedError("the table of verdicts was replaced")
        if complete_at is None:
            return
        if not self._is_complete:
            # What the topic does not have any more is gone, unless a batch that cannot be read may have it.
            if not self._has_unread:
                gone = dict.fromkeys(self._table.connectors().keys() - self._kept)
                self._changes = {**gone, **self._changes}
            self._is_complete = True
        self._write()

    def _read(self, records: Sequence[Any]) -> None:
        for record in records:
            if isinstance(record, UnreadBatch):
                self.unreadable += 1
                self._has_unread = True
                report_unread(record)
                continue
            if record.key is None:
                continue
            try:
                self._changes[record.key] = (
                    None if record.value is None else orjson.dumps(self._codec.decode(record.value))
                )
                self._kept.discard(record.key)
            except ValueError as error:
                self.unreadable += 1
                self._kept.add(record.key)
                log.warning("a connector cannot be read: %s@%d: %.300s", record.topic, record.offset, error)

    def _write(self) -> None:
        known = self._table.connectors()
        news = {key: value for key, value in self._changes.items() if known.get(key) != value}
        if news:
            self._table.write_connectors(news, self._clock())
        self._changes = {}
