"""Finds deletions that were missed: a compacted topic tells of one for a day, and a reader may be away for longer.

The rows of what was deleted would stay for ever. So whoever was away for half of that time reads the keys of the
compacted topics once more from their beginning, beside what it reads anyway, and forgets what they do not hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress

from streams.database.database import Database
from streams.kafka.cluster import Cluster
from streams.kafka.places import Place
from streams.kafka.provisioning import MOST_AWAY_MS
from streams.kafka.source import Source
from streams.kafka.timing import Timing
from streams.kafka.topics import TopicError
from streams.kafka.unread import UnreadBatch
from streams.log_events import log_event
from streams.report.store.missing import Held, forget_missing
from streams.report.store.upkeep import known_since

log = logging.getLogger(__name__)


def may_have_missed(known_at: int, at: int) -> bool:
    """Whether deletions may be gone from the topics between two moments (UTC milliseconds)."""
    return abs(at - known_at) > MOST_AWAY_MS


class Deletions:
    """Watches for how long the tables were not known to be current, and mends what that may have left in them."""

    def __init__(
        self, cluster: Cluster, database: Database, topics: Mapping[str, str], timing: Timing, threads: Executor
    ) -> None:
        """Watch compacted topics, given as names of schemas by whole names; `threads` are for the database."""
        self._cluster, self._database, self._topics = cluster, database, topics
        self._timing, self._threads = timing, threads
        self._known_at = 0
        self._reading: asyncio.Task[Held] | None = None

    @property
    def why(self) -> str | None:
        """Why the tables cannot be called current yet; None where nothing was missed."""
        if self._reading is None:
            return None
        return "deletions may have been missed: what the topics still hold is being read once more"

    async def begin(self, clock: Callable[[], int]) -> None:
        """Look since when the tables are known; before the first batch is written."""
        self._known_at = await self._in_thread(lambda: known_since(self._database, clock()))

    async def are_mended(self, source: Source, at: int) -> bool:
        """Whether the tables, which have all that the topics told up to a moment, have no more than that.

        Raises:
            Exception: the topics cannot be read, or the database does not answer.
        """
        if may_have_missed(self._known_at, at) and not await self._mend(source, at):
            return False
        self._known_at = at
        return True

    async def end(self) -> None:
        """Stop reading."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading

    async def _mend(self, source: Source, at: int) -> bool:
        if self._reading is None:
            about = log_event("report_deletions_missed", known_at=self._known_at)
            log.warning("the tables were not current for more than %d hours", MOST_AWAY_MS // 3_600_000, extra=about)
            self._reading = asyncio.create_task(self._read(source.sources))
        if not self._reading.done():
            return False
        held = self._reading.result()
        if any(source.positions[place] < end for place, end in held.ended.items()):
            return False
        forgotten = await self._in_thread(lambda: forget_missing(self._database, held, at))
        self._reading = None
        about = log_event("report_deletions_mended", rows=forgotten)
        log.info("%d rows were of what the topics do not hold any more", forgotten, extra=about)
        return True

    async def _read(self, sources: Mapping[str, str]) -> Held:
        """The keys that the topics hold."""
        source = Source(self._cluster, list(self._topics), self._timing)
        keys: dict[str, set[bytes]] = {name: set() for name in self._topics.values()}
        unknown: set[Place] = set()
        try:
            await source.start(_from_the_beginning)
            if any(source.sources[topic] != sources[topic] for topic in self._topics):
                raise TopicError(f"{', '.join(self._topics)}: one is another topic than a moment ago")
            begun = await source.ends()
            async for records in source.whole():
                for record in records:
                    if isinstance(record, UnreadBatch):
                        unknown.add(Place(record.topic, record.partition))
                    elif record.value is None:
                        keys[self._topics[record.topic]].discard(record.key)
                    else:
                        keys[self._topics[record.topic]].add(record.key)
            ended = await source.ends()
        finally:
            await source.throw_away()
        # Nobody knows which keys a batch has that cannot be read.
        begun = {place: end for place, end in begun.items() if place not in unknown}
        return Held(dict(sources), dict(self._topics), keys, begun, ended)

    async def _in_thread(self, work: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _from_the_beginning(_: object) -> Mapping[Place, int]:
    return {}
