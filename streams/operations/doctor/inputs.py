"""Looks at the connections that came last: where they lie, whether they can be read, and whose clock is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from streams.domain.time import HOUR_MS
from streams.domain.validation import MAX_AHEAD_MS
from streams.kafka.cluster import Cluster
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import extents_of, partitions_of, read_partitions
from streams.operations.doctor.findings import Finding, ok, problem, told, warning
from streams.wire.codec import AvroCodec, MalformedRecordError, UnknownSchemaError

LATEST_RECORDS: Final = 100
"""Records of each partition that are looked at."""
QUIET_MS: Final = HOUR_MS
"""Connections should have come in so lately."""
SKEW_MS: Final = 5_000
"""A clock that differs by less is right."""
_BROKERS_TIME: Final = 1
_REFUSAL_CHARS: Final = 500
TOPICS_PAGE: Final = "docs/reference/topics.md"
CLOCKS_PAGE: Final = "docs/runbooks/TesEdgeStale.md"


@dataclass(frozen=True, slots=True)
class SeenConnection:
    """What is kept of a connection that was looked at: its value may have a megabyte, and is not.

    `timestamp` and `observed_at` are UTC milliseconds; `observed_at` is None where the value cannot be read, and
    `refusal` says why. `misplaced` says what is wrong with its partition, empty where nothing is.
    """

    partition: int
    offset: int
    timestamp: int
    is_of_broker: bool
    misplaced: str
    observed_at: int | None
    refusal: str
    is_of_unknown_schema: bool


async def latest_records(cluster: Cluster, topic: str, count: int = LATEST_RECORDS) -> tuple[AsyncIterator[Any], int]:
    """The last records of each partition of a topic, as they are read, and how many partitions there are.

    Raises:
        TopicError: the topic does not exist.
        KafkaError: the cluster did not answer.
    """
    partitions = (await partitions_of(cluster, topic))[topic]
    extents = await extents_of(cluster, partitions)
    starts: dict[TopicPartition, int | None] = {one: max(begin, end - count) for one, (begin, end) in extents.items()}
    ends = {one: end for one, (_, end) in extents.items()}
    return read_partitions(cluster, starts, ends), len(partitions)


async def look_at_connections(records: AsyncIterator[Any], partitions: int, codec: AvroCodec) -> list[SeenConnection]:
    """What is kept of connections; each is looked at and forgotten.

    Args:
        records: of their topic.
        partitions: of their topic.
        codec: of connections; it runs in a thread, since for an unknown schema it asks a registry and waits.

    Raises:
        RegistryError: the schema registry did not answer.
    """
    return [await asyncio.to_thread(_look_at, record, partitions, codec) async for record in records]


def _look_at(record: Any, partitions: int, codec: AvroCodec) -> SeenConnection:
    observed_at, refusal, is_unknown = None, "", False
    try:
        observed_at = codec.decode(record.value)["observed_at"]
    except MalformedRecordError as error:
        refusal, is_unknown = str(error)[:_REFUSAL_CHARS], isinstance(error, UnknownSchemaError)
    return SeenConnection(
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type == _BROKERS_TIME,
        _misplaced(record, partitions),
        observed_at,
        refusal,
        is_unknown,
    )


def _misplaced(record: Any, partitions: int) -> str:
    if record.key is None:
        return "has no key, which must be the tenant"
    belongs = kafka_partition(record.key, partitions)
    if belongs == record.partition:
        return ""
    return f"has the key {record.key[:80]!r}, which murmur2, Java's default, puts into partition {belongs}"


def examine_connections(seen: Sequence[SeenConnection], now: int) -> list[Finding]:
    """What the connections that came last say; `now` is UTC milliseconds by this machine's clock."""
    if not seen:
        text = "no connection has come in: let an MTA report some"
        return [warning("connections", text, "docs/how-to/postfix.md")]
    newest = max(one.timestamp for one in seen)
    findings = [ok("connections", f"the last came in at {told(newest)}")]
    if newest < now - QUIET_MS:
        text = f"none has come in since {told(newest)}"
        findings = [warning("connections", text, "docs/runbooks/TesEdgeSpoolFills.md")]
    return [*findings, *_places(seen), *_contents(seen), *_clocks(seen, newest, now)]


def _places(seen: Sequence[SeenConnection]) -> Iterable[Finding]:
    wrong = [one for one in seen if one.misplaced]
    if not wrong:
        yield ok("partitioner", f"the last {len(seen)} connections are where their keys belong")
        return
    first = wrong[0]
    yield problem(
        "partitioner",
        f"{len(wrong)} of the last {len(seen)} connections are in a wrong partition: offset {first.offset} of "
        f"partition {first.partition} {first.misplaced}",
        TOPICS_PAGE,
    )


def _contents(seen: Sequence[SeenConnection]) -> Iterable[Finding]:
    refused = [one for one in seen if one.refusal]
    if not refused:
        yield ok("schemas of connections", f"the last {len(seen)} connections can be read")
        return
    first = next((one for one in refused if one.is_of_unknown_schema), refused[0])
    yield problem(
        "schemas of connections",
        f"{len(refused)} of the last {len(seen)} connections cannot be read: offset {first.offset} of partition "
        f"{first.partition}: {first.refusal}",
        "docs/runbooks/TesDeadLetters.md",
    )


def _clocks(seen: Sequence[SeenConnection], newest: int, now: int) -> Iterable[Finding]:
    """What is proven of clocks: nobody sees a connection after the broker has it, and nobody reads one before."""
    by_broker = [
        (one.observed_at - one.timestamp, one) for one in seen if one.is_of_broker and one.observed_at is not None
    ]
    ahead, first = max(by_broker, key=lambda pair: pair[0], default=(0, None))
    if first is not None and ahead > SKEW_MS:
        who = f"who reported offset {first.offset} of partition {first.partition}"
        text = f"{who} is {ahead / 1000:.1f} s ahead of the brokers"
        if ahead > MAX_AHEAD_MS:
            yield problem("clocks of producers", f"{text}: workers refuse such connections", CLOCKS_PAGE)
        else:
            yield warning("clocks of producers", text, CLOCKS_PAGE)
    elif by_broker:
        yield ok("clocks of producers", "none is ahead of the brokers")
    if by_broker and newest > now + SKEW_MS:
        text = f"this machine's is {(newest - now) / 1000:.1f} s behind the brokers"
        yield warning("own clock", text, CLOCKS_PAGE)
