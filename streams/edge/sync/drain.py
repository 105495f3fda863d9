"""Takes events from the spool to Kafka: each is removed only after Kafka has acknowledged it.

A crash in between sends it once more, with the same `event_id`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from streams.edge.store.spool_reader import SpoolReader, WaitingEvent
from streams.edge.sync.delivery import (
    MAX_BATCH_BYTES,
    RECORDS_FAULT,
    Delivery,
    Outcome,
    OutgoingEvent,
    partition_of,
)
from streams.edge.sync.headers import EventHeaders
from streams.edge.sync.skew import ClockSkew
from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.log_events import log_event
from streams.visible import visible
from streams.wire.registry import UnknownSchemaIdError

log = logging.getLogger(__name__)

EVENTS_AT_ONCE: Final = 5000
BYTES_AT_ONCE: Final = 8 << 20
"""Of what is read from the spool and sent together."""
EVENTS_TO_GO: Final = 1000
"""When this many wait, they are sent at once."""
REMOVED_AT_ONCE: Final = 250
"""In one transaction, which the door waits for: about 2 ms."""
_PAUSE_SECONDS: Final = 0.002
"""Between two of these transactions, for a door that waits."""


class _TryAgainError(Exception):
    """Kafka refused a batch for its content: without that, or in smaller batches, it may take the rest."""


def _is_small(events: Sequence[WaitingEvent]) -> bool:
    return len(events) < EVENTS_AT_ONCE // 10 and sum(len(event.body) for event in events) < BYTES_AT_ONCE // 10


class Drain:
    """Sends what waits; see the module."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        spool: SpoolReader,
        headers: EventHeaders,
        skew: ClockSkew,
        timing: Timing,
        clock: Callable[[], int],
        failpoint: Callable[[str], None],
    ) -> None:
        """Send the events of a spool to a topic.

        `clock` returns UTC milliseconds; `failpoint` is called with the name of each step.
        """
        self._failpoint = failpoint
        self._cluster, self._topic, self._spool, self._headers = cluster, topic, spool, headers
        self._skew, self._timing, self._clock = skew, timing, clock
        self._batch_bytes = MAX_BATCH_BYTES
        self._resting: dict[int, float] = {}
        self._after = 0
        self._swept_at = float("-inf")
        self._is_moving = True
        self._unknown: set[int] = set()
        self.answers = 0
        self.delivered = self.rejected = 0
        """Events since the start."""
        self.delivered_at: int | None = None
        """When Kafka last took one (UTC milliseconds)."""

    async def run(self) -> None:
        """Send events until something fails, which is raised."""
        while True:
            await self._gather()
            delivery = Delivery(self._cluster, self._topic, self._skew, self._clock, self._batch_bytes)
            try:
                await delivery.start(self._timing.answer)
                while True:
                    await self._sweep(delivery)
                    self.answers += 1
                    await self._gather()
            except _TryAgainError:
                self._batch_bytes = delivery.batch_bytes
            finally:
                await delivery.throw_away()

    async def _gather(self) -> None:
        """Wait for events, and after a sweep until many are there or some time is over: each batch has its price."""
        self._spool.write_back()
        while True:
            await asyncio.sleep(min(self._timing.glance, self._timing.linger))
            waiting = self._spool.waiting().events
            is_time = time.monotonic() >= self._swept_at + self._timing.linger
            if waiting and (is_time or (waiting >= EVENTS_TO_GO and self._is_moving)):
                break

    async def _sweep(self, delivery: Delivery) -> None:
        """Send all that waits, from the oldest on, but for what belongs to partitions that rest."""
        partitions = await delivery.partitions(self._timing.answer)
        began = time.monotonic()
        self._resting = {number: until for number, until in self._resting.items() if until > began}
        if not self._resting:
            self._after = 0
        settling: asyncio.Task[None] | None = None
        delivered = self.delivered
        try:
            while events := self._spool.read(self._after, EVENTS_AT_ONCE, BYTES_AT_ONCE):
                self._after = events[-1].seq
                groups: dict[int, list[OutgoingEvent]] = {}
                for event in await self._prepared(events):
                    number = partition_of(event.key, partitions)
                    if number not in self._resting:
                        groups.setdefault(number, []).append(event)
                outcomes = await delivery.send(groups, self._timing.delivery) if groups else {}
                # What is delivered is removed while the next events are on their way.
                before, settling = settling, asyncio.create_task(self._settle(outcomes))
                if before is not None:
                    await before
                if _is_small(events) or time.monotonic() - began > self._timing.rest:
                    break  # let more gather, and look at what was passed over
        finally:
            if settling is not None:
                await settling
            self._swept_at = time.monotonic()
            self._is_moving = self.delivered > delivered

    async def _prepared(self, events: Sequence[WaitingEvent]) -> list[OutgoingEvent]:
        prepared = []
        for event in events:
            value = self._headers.known(event.body)
            if value is None:
                try:
                    await asyncio.to_thread(self._headers.learn, event.body)
                except UnknownSchemaIdError as error:
                    self._pass_over(error)
                except ValueError as error:
                    self._reject(event.seq, str(error))
                    continue
                value = self._headers.known(event.body)
            if value is not None:
                prepared.append(OutgoingEvent(event.seq, event.tenant_id.encode(), value))
        return prepared

    async def _settle(self, outcomes: dict[int, Outcome]) -> None:
        """Remove what is delivered.

        Raises:
            Exception: what failed. The producer is of no more use then: it counts what it sent, and Kafka counts along.
        """
        self._failpoint("acknowledged")
        seqs = iter([seq for outcome in outcomes.values() for seq in outcome.delivered])
        while some := list(islice(seqs, REMOVED_AT_ONCE)):
            self._spool.remove(some)
            self._failpoint("removed")
            self.delivered += len(some)
            self.delivered_at = self._clock()
            await asyncio.sleep(_PAUSE_SECONDS)
        for outcome in outcomes.values():
            for seq, reason in outcome.refused:
                self._reject(seq, reason)
        failures = {number: outcome.failure for number, outcome in outcomes.items() if outcome.failure is not None}
        others = {number: error for number, error in failures.items() if not isinstance(error, RECORDS_FAULT)}
        if len(others) < len(outcomes):
            self._resting |= dict.fromkeys(others, time.monotonic() + self._timing.rest)
        for failure in others.values():
            raise failure
        if failures:
            raise _TryAgainError

    def _pass_over(self, error: UnknownSchemaIdError) -> None:
        """Leave events that a newer door stored to a newer version of sync."""
        if error.schema_id not in self._unknown:
            self._unknown.add(error.schema_id)
            log.error("events wait for a newer version: %s", error, extra=log_event("events_passed_over"))

    def _reject(self, seq: int, reason: str) -> None:
        """Set aside an event that Kafka would never take, so that the others are sent."""
        self._spool.reject(seq, reason)
        self.rejected += 1
        log.error("an event is not sent: %.300s", visible(reason), extra=log_event("event_rejected", seq=seq))
