"""A feed through Kafka and real worker processes: produce it, let workers read it to the end, collect the results."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, Self

import orjson

from streams.domain.exchange.tables import Tables
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.domain.time import iso
from streams.domain.validation import MalformedError, check_moment
from streams.kafka.follower import KafkaLog
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.table import read_table
from streams.kafka.topics import TOPICS
from streams.operations.group import committed_offsets
from streams.settings.worker import Settings
from streams.wire.catalogue import catalogue_key, catalogue_record
from streams.wire.codec import AvroCodec
from streams.wire.records import command_record, connection_record
from streams.wire.registry import registry_of

WORKER_SECONDS = 1800.0
"""A replay that takes longer than this is given up."""
STDERR = 2
"""Of this process, whatever `sys.stderr` is meanwhile."""


class ReplayError(RuntimeError):
    """The replay did not end well; the message says where."""


@dataclass(slots=True)
class Collected:
    """What the topics hold after the replay, as Avro-shaped records; `servers` the last row of each key."""

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    servers: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    dead_letters: list[dict[str, str]] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)


Reader = Callable[[bytes], dict[str, Any]]
"""Reads one JSON line as an Avro-shaped record."""


async def produce_feed(settings: Settings, lines: Iterable[bytes]) -> tuple[int, int]:
    """Write a feed to the connections topic; returns the number of records and the last valid `observed_at`."""
    return await _produce(settings, "inbound_connection", connection_record, "observed_at", lines)


async def produce_commands(settings: Settings, lines: Iterable[bytes]) -> tuple[int, int]:
    """Write commands to their topic; returns the number of records and the last valid `issued_at`."""
    return await _produce(settings, "admin_command", command_record, "issued_at", lines)


class FeedSender:
    """Writes records of an input to its topic, by the key that decides their partition; `sent` counts what has arrived.

    Used as a context manager: all is written at its end, whatever ends it.
    """

    def __init__(self, settings: Settings, schema: str) -> None:
        """Write to the topic of a schema."""
        self.topic = settings.topic(TOPICS[schema])
        self.sent = 0
        self._cluster, self._codec = cluster_of(settings), AvroCodec(schema, registry_of(settings))
        self._producer = self._cluster.producer(
            acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=1 << 19
        )
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await asyncio.sleep(0)  # what was written last is counted by then

    async def send(self, record: dict[str, Any]) -> None:
        """Write an Avro-shaped record, soon.

        Raises:
            ValueError: its schema does not have it.
            KafkaError: it or an earlier one could not be written.
        """
        await self.send_bytes(record["tenant_id"].encode(), self._codec.encode(record))

    async def send_bytes(self, key: bytes | None, value: bytes) -> None:
        """Write a value as it is, soon.

        Raises:
            KafkaError: it or an earlier one could not be written.
        """
        self._raise_failure()
        pending = await self._producer.send(self.topic, value, key=key)
        pending.add_done_callback(self._note)

    async def flush(self) -> None:
        """Wait until all is written.

        Raises:
            KafkaError: something could not be written.
        """
        await self._producer.flush()
        await asyncio.sleep(0)
        self._raise_failure()

    def _note(self, pending: asyncio.Future[Any]) -> None:
        if pending.cancelled():
            return
        if (error := pending.exception()) is not None:
            self._failure = self._failure or error
        else:
            self.sent += 1

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _produce(
    settings: Settings, schema: str, read: Reader, moment_field: str, lines: Iterable[bytes]
) -> tuple[int, int]:
    """Write records; a line that is none goes as it is: the worker has to refuse it, and dead-letter it whole."""
    count, last = 0, 0
    async with FeedSender(settings, schema) as sender:
        for line in lines:
            count += 1
            try:
                record = read(line)
                await sender.send(record)
            except ValueError:
                await sender.send_bytes(_tenant_of(line), line)
                continue
            with suppress(MalformedError):
                check_moment(moment_field, record[moment_field], None)
                last = max(last, record[moment_field])
        await sender.flush()
    return count, last


async def _produce_catalogues(settings: Settings, catalogues: Iterable[tuple[PublishedCatalogue, Tables]]) -> None:
    """Write catalogues as if they had been published, whatever their moments."""
    codec = AvroCodec("catalogue", registry_of(settings))
    async with cluster_of(settings).producer(acks="all") as producer:
        for published, tables in catalogues:
            value = codec.encode(catalogue_record(published, tables))
            topic, key = settings.topic(TOPICS["catalogue"]), catalogue_key(published.version)
            await producer.send_and_wait(topic, value, key=key, partition=0)


def _tenant_of(line: bytes) -> bytes | None:
    try:
        tenant = orjson.loads(line).get("tenant_id")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return tenant.encode() if isinstance(tenant, str) else None


async def start_worker(
    settings: Settings, until: int | None, logs: IO[bytes] | None = None, web_port: int = 0
) -> asyncio.subprocess.Process:
    """A worker process; it ends when its partitions are at their end and their clocks at `until` (UTC ms).

    Without `until` it lives by the wall clock and does not end. All that it prints goes to `logs`, else to stderr.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= settings.environment()
    environment |= {"TES_REPLAY_UNTIL": iso(until) if until is not None else "", "TES_WEB_PORT": str(web_port)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.cli", "worker", "-v", env=environment, stdout=logs or STDERR, stderr=logs
    )


async def run_workers(
    settings: Settings,
    until: int,
    workers: int,
    on_progress: Callable[[int], None] | None = None,
    logs: IO[bytes] | None = None,
) -> None:
    """Run worker processes until each has read its partitions to the end.

    Raises:
        ReplayError: a worker failed, or the time is over.
    """
    processes = [await start_worker(settings, until, logs) for _ in range(workers)]
    watch = asyncio.create_task(_watch(settings, on_progress)) if on_progress else None
    try:
        async with asyncio.timeout(WORKER_SECONDS):
            codes = await asyncio.gather(*(process.wait() for process in processes))
    except TimeoutError:
        raise ReplayError(f"the workers did not finish within {WORKER_SECONDS:.0f} s") from None
    finally:
        if watch is not None:
            watch.cancel()
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if any(codes):
        raise ReplayError(f"a worker exited with code {max(codes, key=abs)}")


async def _watch(settings: Settings, on_progress: Callable[[int], None]) -> None:
    async with cluster_of(settings).opened_admin() as admin:
        while True:
            on_progress(sum((await committed_offsets(admin, settings.app_id)).values()))
            await asyncio.sleep(0.5)


async def collect(settings: Settings) -> Collected:
    """Read the output topics to their ends, once what was committed can be read."""
    cluster, registry, found = cluster_of(settings), registry_of(settings), Collected()
    verdict, note, row = (AvroCodec(name, registry) for name in ("verdict", "admin_notification", "server_report"))
    async for record in read_settled(cluster, settings.topic(TOPICS["verdict"])):
        if record.value is not None:
            found.verdicts.append(verdict.decode(record.value))
    async for record in read_settled(cluster, settings.topic(TOPICS["admin_notification"])):
        found.notifications.append(note.decode(record.value))
    servers = KafkaLog(cluster, [settings.topic(TOPICS["server_report"])], waits_for_transactions=True)
    found.servers = await read_table(servers, row.decode)
    async for record in read_settled(cluster, settings.topic(TOPICS["inbound_connection"]) + ".dlq"):
        found.dead_letters.append(_letter(record))
    async for record in read_settled(cluster, settings.topic(TOPICS["admin_command"]) + ".dlq"):
        found.dead_letters.append(_letter(record))
    audit = AvroCodec("audit_record", registry)
    async for record in read_settled(cluster, settings.topic(TOPICS["audit_record"])):
        found.audit.append(audit.decode(record.value))
    return found


def _letter(record: Any) -> dict[str, str]:
    error = dict(record.headers).get("error", b"").decode()
    return {"error": error, "value": (record.value or b"").decode("utf-8", "replace")}


async def replay(
    settings: Settings,
    lines: Iterable[bytes],
    until: int | None,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
    logs: IO[bytes] | None = None,
    commands: Iterable[bytes] = (),
    catalogues: Iterable[tuple[PublishedCatalogue, Tables]] = (),
) -> Collected:
    """Create the topics, produce catalogues, feed and commands, run workers to its end, and collect what they wrote.

    `until` (UTC milliseconds, the last record by default) ends every clock.
    """
    await create_topics(settings)
    await _produce_catalogues(settings, catalogues)
    _, last = await produce_feed(settings, lines)
    _, last_command = await produce_commands(settings, commands)
    await run_workers(settings, max(last, last_command) if until is None else until, workers, on_progress, logs)
    return await collect(settings)
