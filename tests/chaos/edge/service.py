"""Plays the worker of all partitions, and watches what the edge's disk has of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from streams.kafka.cluster import Producer
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.edge_verdict import unpack_edge_verdict
from streams.wire.registry import LocalRegistry
from tests.chaos.edge.log import Sample, Written
from tests.chaos.edge.population import senders

SIGN_SECONDS = 0.5
LOOK_SECONDS = 0.1
ANSWER_SECONDS = 5.0
ROWS_AT_ONCE = 2_000
_WORKER = {"stream_time": None, "policy_id": "p", "policy_version": 1, "worker_version": "1"}


def now_ms() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000


class Service:
    """Writes verdicts and signs of life, but for the input partitions that are `silent`."""

    def __init__(self, settings: Settings, verdicts_file: Path) -> None:
        """Use the topics of a corner of a cluster, and look at the file of an edge."""
        self._settings, self._file = settings, verdicts_file
        registry = LocalRegistry()
        self._verdict, self._sign = (AvroCodec(name, registry) for name in ("verdict", "partition_progress"))
        self._producer: Producer | None = None
        self._sending = asyncio.Lock()
        self.silent: set[int] = set()
        self.written: list[Written] = []
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Give signs of life, and look at the disk, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._give_signs())
                group.create_task(self._watch())
        finally:
            await self._throw_away()

    async def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Write the newest verdicts about servers; waits until Kafka has them."""
        found = list(records)
        self.written += [Written(_key(record), record["revision"], record, now_ms()) for record in found]
        await self.fill(found)

    async def fill(self, records: Iterable[dict[str, Any]]) -> None:
        """Write verdicts about servers that send nothing; waits until Kafka has them."""
        rows = iter([(_key(record).encode(), self._verdict.encode(record)) for record in records])
        while some := dict(islice(rows, ROWS_AT_ONCE)):
            while not await self._send("verdict", some):
                await asyncio.sleep(SIGN_SECONDS)

    def forget(self) -> None:
        """All verdicts are about to be gone."""
        gone = {item.key: item.revision for item in self.written}
        self.written += [Written(key, revision, None, now_ms()) for key, revision in gone.items()]

    @property
    def confirmed_at(self) -> int | None:
        """What was confirmed when it was last looked."""
        return self.samples[-1].confirmed_at if self.samples else None

    @property
    def are_all_seen(self) -> bool:
        """Whether the disk had each verdict that was written."""
        return all(item.seen_at is not None for item in self.written)

    async def _give_signs(self) -> None:
        while True:
            speaking = set(range(self._settings.partitions)) - self.silent
            signs = {number: {"partition": number, "wall_clock": now_ms(), **_WORKER} for number in speaking}
            await self._send(
                "partition_progress", {b"%d" % number: self._sign.encode(signs[number]) for number in signs}
            )
            await asyncio.sleep(SIGN_SECONDS)

    async def _send(self, name: str, rows: Mapping[bytes, bytes | None]) -> bool:
        """Write records; returns whether Kafka has them."""
        topic = self._settings.topic(TOPICS[name])
        async with self._sending:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if self._producer is None:
                        self._producer = cluster_of(self._settings).producer(acks="all", request_timeout_ms=3000)
                        await self._producer.start()
                    producer = self._producer
                    sent = [await producer.send(topic, value, key=key) for key, value in rows.items()]
                    await asyncio.gather(*sent)
            except (KafkaError, TimeoutError, OSError):
                await self._throw_away()
                return False
        return True

    async def _throw_away(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await producer.stop()

    async def _watch(self) -> None:
        while True:
            began = now_ms()
            confirmed_at, revisions = look(self._file, _KEYS)
            ended = now_ms()
            last = self.samples[-1] if self.samples else None
            if last is not None and (last.confirmed_at, last.revisions) == (confirmed_at, revisions):
                self.samples[-1] = last._replace(ended=ended)
            else:
                self.samples.append(Sample(began, ended, confirmed_at, revisions))
            if confirmed_at is not None:
                self._find_seen(revisions, ended)
            await asyncio.sleep(LOOK_SECONDS)

    def _find_seen(self, revisions: Mapping[str, int], at: int) -> None:
        """Note what is there; what came before it was there, or was passed over, by then."""
        passed: set[str] = set()
        for place, item in reversed(list(enumerate(self.written))):
            if item.seen_at is None:
                is_kept = item.record is not None and can_act(item.record)
                if item.key in passed or revisions.get(item.key) == (item.revision if is_kept else None):
                    self.written[place] = item._replace(seen_at=at)
                    passed.add(item.key)
            else:
                passed.add(item.key)


def can_act(record: Mapping[str, Any]) -> bool:
    """Whether a verdict has any minute in which mail is delayed or refused; the edge keeps no other."""
    rates = [record, *record["schedule"]]
    return any(item["throttle_minutes_per_hour"] or item["block_minutes_per_hour"] for item in rates)


def look(file: Path, keys: Sequence[bytes]) -> tuple[int | None, dict[str, int]]:
    """When the verdicts on disk were confirmed, and the revisions of some; nothing where they cannot be read."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", 0.05, uri=True, isolation_level=None)
    except sqlite3.Error:
        return None, {}
    try:
        connection.execute("BEGIN")
        status = dict(connection.execute("SELECT name, value FROM status"))
        wanted = f"SELECT key, value FROM verdict WHERE key IN ({', '.join('?' * len(keys))})"
        rows = connection.execute(wanted, keys).fetchall()
        return status.get("confirmed_at"), {key.decode(): unpack_edge_verdict(value).revision for key, value in rows}
    except (sqlite3.Error, ValueError):
        return None, {}
    finally:
        connection.close()


_KEYS = [sender.key.encode() for sender in senders()]


def _key(record: Mapping[str, Any]) -> str:
    return f"{record['tenant_id']}/{record['server']}"
