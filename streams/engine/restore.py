"""Fills a partition's store from its changelog.

The changelog is read with read_committed from the position stored locally until the consumer's position reaches the end
as it was at the start. Positions pass transaction markers, offsets of records do not.

A changelog's first row names it, at random, and compaction leaves it where it is. A store whose name is another one
belongs to a changelog that was deleted, however well its position fits this one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition

from streams.engine.cluster import Cluster, Consumer
from streams.engine.ending import closed_quietly
from streams.engine.events import event
from streams.engine.ports import StateStore

log = logging.getLogger(__name__)

POSITION = b"\0changelog-position"
"""Local row: the changelog position up to which the store is filled; never leaves the machine."""
NAME = b"\0changelog-name"
"""State row: which changelog this is; its first row, written before any other."""
WRITE_ROWS = 20_000
"""Rows that are written to the store at once."""
PROGRESS_ROWS = 500_000
"""Rows between two lines in the log."""


async def restore(
    cluster: Cluster, changelog: TopicPartition, store: StateStore, on_progress: Callable[[int, int], None]
) -> None:
    """Bring the store to the changelog's end; `on_progress` gets the rows of each write, and how many are to come."""
    consumer = cluster.consumer(
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 << 20,
        fetch_max_wait_ms=100,
        max_poll_records=WRITE_ROWS,
    )
    await consumer.start()
    try:
        consumer.assign([changelog])
        begin = (await consumer.beginning_offsets([changelog]))[changelog]
        end = (await consumer.end_offsets([changelog]))[changelog]
        first = await _first(consumer, changelog, begin, end)
        stored = store.get(POSITION)
        position = int(stored) if stored else 0
        named = first.value if first is not None and first.key == NAME else None
        if stored is None and begin > 0:
            log.critical(
                "%s: begins at %d: it was cut, and the state is restored from what it holds",
                *(changelog, begin),
                extra=event("changelog_cut", partition=changelog.partition, begin=begin),
            )
        is_another = stored is not None and named is not None and named != store.get(NAME)
        if is_another or position > end or 0 < position < begin:
            log.critical(
                "%s: the stored state ends at %d of %s, this changelog has %d..%d: it was deleted or cut; "
                "the state is restored anew from what it holds",
                changelog,
                position,
                "another one" if is_another else "it",
                begin,
                end,
                extra=event("changelog_cut", partition=changelog.partition, begin=begin),
            )
            store.wipe()
            position = 0
        consumer.seek(changelog, max(position, begin))
        await _read(consumer, changelog, end, store, on_progress)
    finally:
        await closed_quietly(consumer.stop())


async def _first(consumer: Consumer, changelog: TopicPartition, begin: int, end: int) -> Any:
    """The first committed row; None where there is none."""
    consumer.seek(changelog, begin)
    while await consumer.position(changelog) < end:
        for rows in (await consumer.getmany(changelog, timeout_ms=200, max_records=1)).values():
            return rows[0]
    return None


async def _read(
    consumer: Consumer,
    changelog: TopicPartition,
    end: int,
    store: StateStore,
    on_progress: Callable[[int, int], None],
) -> None:
    count, told = 0, 0
    rows: dict[bytes, bytes | None] = {}
    position = await consumer.position(changelog)
    on_progress(0, end - position)
    while position < end:
        fetched = await consumer.getmany(changelog, timeout_ms=200)
        for row in fetched.get(changelog, ()):
            rows[row.key] = row.value
        position = await consumer.position(changelog)
        if len(rows) >= WRITE_ROWS or position >= end:
            rows[POSITION] = b"%d" % position
            store.write(rows)
            count += len(rows) - 1
            on_progress(len(rows) - 1, max(0, end - position))
            rows = {}
            await asyncio.sleep(0)
        if count - told >= PROGRESS_ROWS:
            told = count
            log.info(
                "%s: %d rows restored, at %d of %d",
                *(changelog, count, position, end),
                extra=event("restore_progress", partition=changelog.partition, rows=count, left=end - position),
            )
