"""Looks at the connections that came last: where they lie, whether they can be read, and whose clock is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.domain.time import HOUR_MS
from streams.domain.validation import MAX_AHEAD_MS
from streams.kafka.cluster import Cluster
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import extents_of, partitions_of, read_partitions
from streams.kafka.unread import UnreadBatch
from streams.operations.doctor.findings import Finding, ok, problem, told, warning
from streams.wire.codec import AvroCodec, MalformedRecordError, UnknownSchemaError

LATEST_RECORDS: Final = 100
"""Records of each partition that are looked at."""
QUIET_MS: Final = HOUR_MS
"""Connections should have come in so lately."""
SKEW_MS: Final = 5_000
"""A clock that differs by less is right."""
_BROKERS_TIME: Final = 1
TOPICS_PAGE: Final = "docs/reference/topics.md"
CLOCKS_PAGE: Final = "docs/runbooks/TesEdgeStale.md"


async def latest_records(cluster: Cluster, topic: str, count: int = LATEST_RECORDS) -> tuple[list[Any], int]:
    """The last records of each partition of a topic, and how many partitions there are.

    Raises:
        TopicError: the topic does not exist.
        KafkaError: the cluster did not answer.
    """
    partitions = (await partitions_of(cluster, topic))[topic]
    extents = await extents_of(cluster, partitions)
    starts: dict[TopicPartition, int | None] = {one: max(begin, end - count) for one, (begin, end) in extents.items()}
    ends = {one: end for one, (_, end) in extents.items()}
    return [record async for record in read_partitions(cluster, starts, ends)], len(partitions)


def examine_connections(records: Sequence[Any], partitions: int, codec: AvroCodec, now: int) -> list[Finding]:
    """What the connections that came last say.

    Args:
        records: as `latest_records` returns them.
        partitions: of their topic.
        codec: of connections.
        now: UTC milliseconds, by this machine's clock.

    Raises:
        RegistryError: the schema registry did not answer.
    """
    found = [record for record in records if not isinstance(record, UnreadBatch)]
    if not found:
        text = "no connection has come in: let an MTA report some"
        return [warning("connections", text, "docs/how-to/postfix.md")]
    newest = max(record.timestamp for record in found)
    findings = [ok("connections", f"the last came in at {told(newest)}")]
    if newest < now - QUIET_MS:
        text = f"none has come in since {told(newest)}"
        findings = [warning("connections", text, "docs/runbooks/TesEdgeSpoolFills.md")]
    findings += _places(found, partitions)
    observed = list[tuple[int, Any]]()
    findings += _contents(found, codec, observed)
    return [*findings, *_clocks(observed, newest, now)]


def _places(records: Sequence[Any], partitions: int) -> Iterable[Finding]:
    wrong = [row for row in records if row.key is None or kafka_partition(row.key, partitions) != row.partition]
    if not wrong:
        yield ok("partitioner", f"the last {len(records)} connections are where their keys belong")
        return
    row, text = wrong[0], "has no key, which must be the tenant"
    if row.key is not None:
        belongs = kafka_partition(row.key, partitions)
        text = f"has the key {row.key[:80]!r}, which murmur2, Java's default, puts into partition {belongs}"
    yield problem(
        "partitioner",
        f"{len(wrong)} of the last {len(records)} connections are in a wrong partition: offset {row.offset} of "
        f"partition {row.partition} {text}",
        TOPICS_PAGE,
    )


def _contents(records: Sequence[Any], codec: AvroCodec, observed: list[tuple[int, Any]]) -> Iterable[Finding]:
    refused = list[tuple[Any, MalformedRecordError]]()
    for record in records:
        try:
            observed.append((codec.decode(record.value)["observed_at"], record))
        except MalformedRecordError as error:
            refused.append((record, error))
    if not refused:
        yield ok("schemas of connections", f"the last {len(records)} connections can be read")
        return
    record, why = next((row for row in refused if isinstance(row[1], UnknownSchemaError)), refused[0])
    yield problem(
        "schemas of connections",
        f"{len(refused)} of the last {len(records)} connections cannot be read: offset {record.offset} of partition "
        f"{record.partition}: {why}",
        "docs/runbooks/TesDeadLetters.md",
    )


def _clocks(observed: Sequence[tuple[int, Any]], newest: int, now: int) -> Iterable[Finding]:
    """What is proven of clocks: nobody sees a connection after the broker has it, and nobody reads one before."""
    by_broker = [(at - row.timestamp, row) for at, row in observed if row.timestamp_type == _BROKERS_TIME]
    ahead, row = max(by_broker, key=lambda pair: pair[0], default=(0, None))
    if row is not None and ahead > SKEW_MS:
        who = f"who reported offset {row.offset} of partition {row.partition}"
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
