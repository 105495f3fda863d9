"""Keeps the verdicts on disk as their topic has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.edge.store.table import TableReplacedError, VerdictTable
from streams.edge.store.table_layout import BEGUN_AT, COMPLETE_AT, IS_LOADING, SOURCE
from streams.edge.sync.following import Follower, Following
from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.kafka.follower import LostPositionError
from streams.kafka.provisioning import MOST_AWAY_MS
from streams.kafka.reader import report_unread
from streams.kafka.topic_ids import TopicIdentity
from streams.kafka.topics import TopicError
from streams.kafka.unread import UnreadBatch
from streams.log_events import log_event
from streams.wire.codec import AvroCodec
from streams.wire.edge_verdict import edge_verdict_of_record, pack_edge_verdict

log = logging.getLogger(__name__)

ROWS_AT_ONCE: Final = 2000
"""Of one transaction on disk."""
MOST_LINES: Final = 100
"""In the log, about verdicts that cannot be read; beyond that they are only counted."""
UNREADABLE: Final = b""


class VerdictFollower(Follower):
    """Reads the verdicts' topic; all that it holds is on disk."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        codec: AvroCodec,
        table: VerdictTable,
        timing: Timing,
        clock: Callable[[], int],
        failpoint: Callable[[str], None],
    ) -> None:
        """Follow a topic into a table.

        `clock` returns UTC milliseconds; `failpoint` is called with the name of each step.
        """
        super().__init__(cluster, topic, timing)
        self._codec, self._table, self._clock, self._failpoint = codec, table, clock, failpoint
        self.complete_at: int | None = None
        """When all verdicts were last on disk (UTC milliseconds); None where that was not since the start."""
        self.is_loading = False
        self.records = self.unreadable = self.unread_batches = 0

    async def _begin(self, following: Following) -> None:
        if not self._table.is_whole:
            self.complete_at = None
            self._table.open()
        try:
            await super()._begin(following)
        except LostPositionError:
            if self._identity is not None:
                self._restart_reading(self._identity, "the topic does not hold the next verdict any more")
            raise

    def _starts(self, identities: Mapping[str, TopicIdentity]) -> Mapping[TopicPartition, int]:
        self._identity = identity = identities[self._topic]
        status = self._table.status()
        self.is_loading = bool(status.get(IS_LOADING))
        current_at = status.get(BEGUN_AT if self.is_loading else COMPLETE_AT)
        if status.get(SOURCE) != identity.source:
            self._restart_reading(
                identity, "another topic, or the first one" if SOURCE in status else "nothing is known yet"
            )
        elif current_at is None or not 0 <= self._clock() - current_at <= MOST_AWAY_MS:
            self._restart_reading(identity, "deletions may have been missed")
        return {TopicPartition(self._topic, number): offset for number, offset in self._table.positions().items()}

    def _restart_reading(self, identity: TopicIdentity, why: str) -> None:
        log.info("reading all verdicts: %s", why, extra=log_event("verdicts_reading", why=why))
        self._table.begin(identity.source, self._clock())
        self.is_loading = True
        self.complete_at = None

    async def _take(self, records: Sequence[Any], complete_at: int | None) -> None:
        for begin in range(0, len(records), ROWS_AT_ONCE):
            some = records[begin : begin + ROWS_AT_ONCE]
            # A registry may be asked, and the events go on meanwhile.
            changes = await asyncio.to_thread(self._rows_of, some)
            positions = {record.partition: record.offset + 1 for record in some}
            self._table.write(changes, positions, is_loading=self.is_loading)
            self._failpoint("written")
            self.records += len(some)
        self._note(complete_at)

    def _note(self, complete_at: int | None) -> None:
        if complete_at is None:
            return
        if self.is_loading:
            self._failpoint("read")
            self._table.complete()
            self._failpoint("completed")
            self.is_loading = False
            log.info("all verdicts are read", extra=log_event("verdicts_read"))
        self.complete_at = complete_at

    async def _look(self, following: Following) -> None:
        await super()._look(following)
        if self.complete_at is not None and self._clock() - self.complete_at > MOST_AWAY_MS:
            raise TopicError(f"{self._topic}: a partition was not read for so long that deletions may have been missed")
        if not self._table.is_whole:
            raise TableReplacedError("the verdicts on disk are damaged, or another file")

    def _rows_of(self, records: Sequence[Any]) -> dict[bytes, bytes | None]:
        rows: dict[bytes, bytes | None] = {}
        for record in records:
            if isinstance(record, UnreadBatch):
                self.unread_batches += 1
                report_unread(record)
            elif record.key is not None:
                rows[record.key] = self._row_of(record)
        return rows

    def _row_of(self, record: Any) -> bytes | None:
        if record.value is None:
            return None
        try:
            verdict = edge_verdict_of_record(self._codec.decode(record.value), record.key)
        except ValueError as error:
            self.unreadable += 1
            if self.unreadable <= MOST_LINES:
                where = f"{record.topic}-{record.partition}@{record.offset}"
                log.warning(
                    "a verdict cannot be read, mail of its server is accepted: %s: %.300s",
                    *(where, error),
                    extra=log_event("verdict_unreadable", where=where),
                )
            return UNREADABLE
        return pack_edge_verdict(verdict) if verdict.can_act else None
