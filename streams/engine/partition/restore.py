"""Fills a partition's store from its changelog.

The changelog is read with read_committed from the position stored locally until the consumer's position reaches the end
as it was at the start. Positions pass transaction markers, offsets of records do not.

A changelog's first row names it, at random, and compaction leaves it where it is. A store whose name is another one
belongs to a changelog that was deleted, however well its position fits this one.

Once the broker has compacted the deletion of a row it keeps that for a day (`delete.retention.ms`), and then nothing
tells that the row is gone. A store that was away for longer would keep the row, so one that is too old is filled anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition

from streams.clock import wall_clock_ms
from streams.engine.ports import StateStore
from streams.kafka.cluster import Cluster, Consumer
from streams.kafka.reader import fetch_to
from streams.kafka.shutdown import close_with_timeout
from streams.log_events import log_event

log = logging.getLogger(__name__)

POSITION = b"\0changelog-position"
"""Local row: the changelog position up to which the store is filled; never leaves the machine."""
FILLED_AT = b"\0changelog-filled-at"
"""Local row: when the store held all that the changelog did; wall clock, milliseconds."""
LOCAL_ROWS = frozenset((POSITION, FILLED_AT))
NAME = b"\0changelog-name"
"""State row: which changelog this is; its first row, written before any other."""
KEPT_SECONDS = 12 * 3600
"""Half of what the broker keeps deletions for, unless somebody set it: clocks differ, and a restore takes its time."""
WRITE_ROWS = 2_000
"""Rows that are fetched, and written to the store, at once: few enough that they take the same memory again."""
FLUSH_ROWS = 20_000
"""Restored rows after which the store is flushed."""
PROGRESS_ROWS = 500_000
"""Rows between two lines in the log."""


async def restore(
    cluster: Cluster, changelog: TopicPartition, store: StateStore, on_progress: Callable[[int, int], None]
) -> None:
    """Bring the store to the changelog's end; `on_progress` gets the rows of each write, and how many are to come.

    Raises:
        TopicError: the changelog was made again meanwhile, with less.
    """
    consumer = cluster.consumer(
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        max_poll_records=WRITE_ROWS,
    )
    await consumer.start()
    try:
        consumer.assign([changelog])
        now = wall_clock_ms()
        begin = (await consumer.beginning_offsets([changelog]))[changelog]
        end = (await consumer.end_offsets([changelog]))[changelog]
        first = await _first(cluster, consumer, changelog, begin, end)
        position = _usable_position(changelog, store, begin, end, first, now)
        if not position:
            store.write({FILLED_AT: b"%d" % now})
        consumer.seek(changelog, max(position, begin))
        count = await _read(cluster, consumer, changelog, end, store, on_progress)
        store.write({FILLED_AT: b"%d" % now})
        if count >= FLUSH_ROWS:
            # A crash soon after would have to read the last of them again, which takes longer than all else of a start.
            store.flush()
    finally:
        await close_with_timeout(consumer.stop())


def _usable_position(changelog: TopicPartition, store: StateStore, begin: int, end: int, first: Any, now: int) -> int:
    """The changelog position from which the store is filled on; 0 where it has nothing, or had to be emptied."""
    stored = store.get(POSITION)
    position = int(stored) if stored else 0
    partition = changelog.partition
    if stored is None and begin > 0:
        log.critical(
            "%s: begins at %d: the changelog was truncated; restoring the state from the remaining records",
            *(changelog, begin),
            extra=log_event("changelog_cut", partition=partition, begin=begin),
        )
    named = first.value if first is not None and first.key == NAME else None
    is_another = stored is not None and named is not None and named != store.get(NAME)
    if is_another or position > end or 0 < position < begin:
        log.critical(
            "%s: the stored state ends at %d of %s, this changelog has %d..%d: it was deleted or truncated; "
            "the state is restored from the remaining records",
            *(changelog, position, "another one" if is_another else "it", begin, end),
            extra=log_event("changelog_cut", partition=partition, begin=begin),
        )
    elif position and begin == 0 and not _is_recent(store.get(FILLED_AT), now):
        log.info(
            "%s: the local state is more than %d hours old; restoring it from the changelog",
            *(changelog, KEPT_SECONDS // 3600),
            extra=log_event("store_outdated", partition=partition),
        )
    else:
        return position
    store.wipe()
    return 0


def filled(position: int | None) -> dict[bytes, bytes]:
    """The local rows of a store that holds the changelog up to here, which is its end; none where nobody told it."""
    return {} if position is None else {POSITION: b"%d" % position, FILLED_AT: b"%d" % wall_clock_ms()}


def _is_recent(filled_at: bytes | None, now: int) -> bool:
    return filled_at is not None and 0 <= now - int(filled_at) < KEPT_SECONDS * 1000


async def _first(cluster: Cluster, consumer: Consumer, changelog: TopicPartition, begin: int, end: int) -> Any:
    """The first committed row; None where there is none."""
    consumer.seek(changelog, begin)
    async for fetched in fetch_to(cluster, consumer, {changelog: end}, max_records=1):
        for rows in fetched.values():
            return rows[0]
    return None


async def _read(
    cluster: Cluster,
    consumer: Consumer,
    changelog: TopicPartition,
    end: int,
    store: StateStore,
    on_progress: Callable[[int, int], None],
) -> int:
    count, told = 0, 0
    rows: dict[bytes, bytes | None] = {}
    position = await consumer.position(changelog)
    on_progress(0, end - position)
    async for fetched in fetch_to(cluster, consumer, {changelog: end}):
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
                "%s: restored %d rows, at offset %d of %d",
                *(changelog, count, position, end),
                extra=log_event("restore_progress", partition=changelog.partition, rows=count, left=end - position),
            )
    return count
