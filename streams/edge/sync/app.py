"""Composes sync: its parts, each started again when it fails, and what they know together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from streams.clock import wall_clock_ms
from streams.edge.store.spool_reader import SpoolReader
from streams.edge.store.table import VerdictTable
from streams.edge.store.table_layout import CLOCK_SKEW, COMPLETE_AT, CONFIRMED_AT, SYNC_ALIVE_AT
from streams.edge.sync.connectors import ConnectorFollower
from streams.edge.sync.drain import Drain
from streams.edge.sync.headers import EventHeaders
from streams.edge.sync.signs import SignsFollower
from streams.edge.sync.skew import ClockSkew
from streams.edge.sync.status import SyncStatus
from streams.edge.sync.timing import Timing
from streams.edge.sync.verdicts import VerdictFollower
from streams.failpoints import failpoints
from streams.kafka.cluster import Cluster
from streams.kafka.topics import TOPICS
from streams.log_events import log_event
from streams.wire.codec import AvroCodec
from streams.wire.registry import SchemaRegistry

log = logging.getLogger(__name__)

VERDICTS, SIGNS, CONNECTORS, EVENTS = "verdicts", "signs of life", "connectors", "events"


class Part(Protocol):
    """A task of sync; `answers` grows whenever Kafka answers it."""

    answers: int

    async def run(self) -> None:
        """Run until something fails, which is raised."""


class Failure(NamedTuple):
    """Why a part failed, and its `answers` then."""

    why: str
    answers: int


class Sync:
    """Moves records between the files in a folder and Kafka, until it is cancelled."""

    def __init__(
        self,
        cluster: Cluster,
        registry: SchemaRegistry,
        folder: Path,
        *,
        topic: Callable[[str], str] = str,
        timing: Timing | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        failpoint: Callable[[str], None] | None = None,
    ) -> None:
        """Serve an edge.

        Args:
            cluster: where the topics are.
            registry: of their schemas.
            folder: where the edge's files are.
            topic: gives a topic's whole name, with its prefix.
            timing: how long to wait for what.
            clock: returns UTC milliseconds.
            failpoint: called with the name of each step, for tests that kill sync there.
        """
        failpoint = failpoint or failpoints("")
        self._timing, self._clock = timing or Timing(), clock
        self._table, self._spool, self._skew = VerdictTable(folder), SpoolReader(folder), ClockSkew()
        names = {name: topic(TOPICS[name]) for name in TOPICS}
        self._verdicts = VerdictFollower(
            cluster, names["verdict"], AvroCodec("verdict", registry), self._table, self._timing, clock, failpoint
        )
        self._connectors = ConnectorFollower(
            cluster, names["connector"], AvroCodec("connector", registry), self._table, self._timing, clock
        )
        self._signs = SignsFollower(
            cluster,
            (names["partition_progress"], names["inbound_connection"]),
            AvroCodec("partition_progress", registry),
            self._skew,
            self._timing,
            clock,
        )
        self._drain = Drain(
            cluster,
            names["inbound_connection"],
            self._spool,
            EventHeaders(registry),
            self._skew,
            self._timing,
            clock,
            failpoint,
        )
        self._parts: dict[str, Part] = {
            VERDICTS: self._verdicts,
            SIGNS: self._signs,
            CONNECTORS: self._connectors,
            EVENTS: self._drain,
        }
        self._failures: dict[str, Failure] = {}
        self._is_disk_failing = False
        self._confirmed_at: int | None = None

    async def run(self) -> None:
        """Run until cancelled; no failure of Kafka, the registry or the disk ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in self._parts.items():
                    group.create_task(self._keep_running(name, part))
                group.create_task(self._tick())
        finally:
            self._table.close()
            self._spool.close()

    def status(self) -> SyncStatus:
        """The present status."""
        waiting = self._spool.waiting_or_nothing()
        return SyncStatus(
            confirmed_at=self._confirmed_at,
            complete_at=self._verdicts.complete_at,
            is_loading=self._verdicts.is_loading,
            signs={number: sign.wall_clock for number, sign in self._signs.newest.items()},
            inputs=self._signs.inputs,
            clock_skew=self._skew.milliseconds,
            records=self._verdicts.records,
            unreadable={
                VERDICTS: self._verdicts.unreadable + self._verdicts.unread_batches,
                SIGNS: self._signs.unreadable,
                CONNECTORS: self._connectors.unreadable,
            },
            waiting=waiting,
            delivered=self._drain.delivered,
            delivered_at=self._drain.delivered_at,
            rejected=self._drain.rejected,
            failures={name: failure.why for name, failure in self._failures.items()},
        )

    async def _keep_running(self, name: str, part: Part) -> None:
        wait = self._timing.first_retry
        while True:
            before = part.answers
            try:
                await part.run()
            except Exception as error:  # noqa: BLE001 - whatever failed, it is tried again
                self._failed(name, part, error)
            if part.answers > before:
                wait = self._timing.first_retry
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._timing.last_retry)

    def _failed(self, name: str, part: Part, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"[:500]
        if name not in self._failures or self._failures[name].why != why:
            log.warning("%s: %s", name, why, extra=log_event("sync_failed", part=name, why=why))
        self._failures[name] = Failure(why, part.answers)

    def _find_recovered(self) -> None:
        for name, part in self._parts.items():
            if name in self._failures and part.answers > self._failures[name].answers:
                del self._failures[name]
                log.info("%s: works again", name, extra=log_event("sync_recovered", part=name))

    async def _tick(self) -> None:
        """Write what is known, for the door to read, once in a while."""
        while True:
            await asyncio.sleep(self._timing.tick)
            self._find_recovered()
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 - the verdicts' part opens the table again
                if not self._is_disk_failing:
                    log.warning("the table of verdicts cannot be written: %s", error, extra=log_event("table_failed"))
                self._is_disk_failing = True
            else:
                self._is_disk_failing = False

    def _write(self) -> None:
        if not self._table.is_whole:
            return
        now = self._clock()
        facts: dict[str, int | str | None] = {SYNC_ALIVE_AT: now, CLOCK_SKEW: self._skew.milliseconds}
        complete_at, alive_at = self._verdicts.complete_at, self._signs.alive_at
        if complete_at is not None:
            facts[COMPLETE_AT] = complete_at
            if alive_at is not None:
                known: int = self._table.status().get(CONFIRMED_AT) or 0
                # A later one was written by a clock that has been corrected since.
                self._confirmed_at = max(known if known <= now else 0, min(complete_at, alive_at, now))
                facts[CONFIRMED_AT] = self._confirmed_at
        self._table.set_status(facts)
