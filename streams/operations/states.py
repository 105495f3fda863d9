"""The state as the changelog has it, and the history that led to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from streams.domain.keys import ServerKey
from streams.domain.tenant.commands import subject_of
from streams.engine.partition import state_format
from streams.engine.partition.restore import restore
from streams.engine.partition.unit import MARKER, MERGED_MARKER
from streams.kafka.cluster import Cluster
from streams.kafka.follower import KafkaLog
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import partitions_of, read_partitions, refuse_unread
from streams.kafka.security import cluster_of
from streams.kafka.table import CompactedTable, read_table
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.state.inspect import format_of, shown_row
from streams.state.keys import server_key, tenant_key, tombstone_key
from streams.state.row_format import STATE_FORMAT
from streams.state.stores import RocksDBStore
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.records import command_of, to_json
from streams.wire.registry import SchemaRegistry

_DECISIONS = (
    ("verdict", "VERDICT", "issued_at"),
    ("admin_notification", "NOTIFICATION", "occurred_at"),
    ("audit_record", "AUDIT", "occurred_at"),
)


@contextmanager
def _temporary_store() -> Iterator[RocksDBStore]:
    """A store in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tes-rows-") as folder:
        store = RocksDBStore(Path(folder) / "rows")
        try:
            yield store
        finally:
            store.close()


@asynccontextmanager
async def compacted_store(cluster: Cluster, partition: TopicPartition) -> AsyncIterator[RocksDBStore]:
    """The last value of each key of a partition, on disk: a table that may not fit into memory.

    Raises:
        TopicError: it does not exist, or holds a batch that cannot be read.
    """
    log = KafkaLog(cluster, [partition.topic], partitions=[partition.partition])
    with _temporary_store() as store:
        async with CompactedTable(log, bytes, write=store.write, on_unread=refuse_unread):
            yield store


@asynccontextmanager
async def restored_changelog(cluster: Cluster, changelog: TopicPartition) -> AsyncIterator[RocksDBStore]:
    """A partition's state as a worker restores it, whatever its format.

    Raises:
        UnreadBatchError: it holds a batch that cannot be read.
    """
    with _temporary_store() as store:
        await restore(cluster, changelog, store, lambda _rows, _left: None)
        yield store


@asynccontextmanager
async def restored_store(settings: Settings, partition: int) -> AsyncIterator[RocksDBStore]:
    """A partition's state as a worker restores it.

    Raises:
        StoreError: its format is unknown.
    """
    async with restored_changelog(cluster_of(settings), TopicPartition(settings.changelog, partition)) as store:
        state_format.check_format(store, STATE_FORMAT, format_of)
        yield store


async def export(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Every state, partition by partition in the order of its rows, in front of each what holds for the partition.

    Raises:
        StoreError: a state's format is unknown.
        TopicError: the changelog does not exist.
    """
    for changelog in (await partitions_of(cluster_of(settings), settings.changelog))[settings.changelog]:
        async with restored_store(settings, changelog.partition) as store:
            markers = {
                name: None if (value := store.get(row)) is None else int(value)
                for name, row in (("source_offset", MARKER), ("commands_offset", MERGED_MARKER))
            }
            yield {"row": "partition", "format": STATE_FORMAT, "partition": changelog.partition, **markers}
            for prefix in (b"s", b"t", b"f"):
                for key, value in store.scan(prefix + b"/", prefix + b"0"):
                    shown = shown_row(key, value)
                    if shown is not None:
                        yield {"partition": changelog.partition, **shown}


@dataclass(slots=True)
class ServerHistory:
    """What is known of a server: rows of the state as JSON has them, and decisions in the order of their moments."""

    partition: int
    markers: dict[str, int | None] = field(default_factory=dict)
    server: dict[str, Any] | None = None
    tenant: dict[str, Any] | None = None
    forgotten: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether anything is known of the server itself."""
        return bool(self.server or self.forgotten or any(row["server"] for row in self.history))


async def load_history(settings: Settings, registry: SchemaRegistry, key: ServerKey) -> ServerHistory:
    """The state of a server as a worker has it, and what was decided about it.

    Raises:
        StoreError: the state's format is unknown.
        TopicError: a topic does not exist.
    """
    topics = {name: settings.topic(TOPICS[name]) for name, _, _ in _DECISIONS}
    commands = settings.topic(TOPICS["admin_command"])
    counts = await partitions_of(cluster_of(settings), settings.changelog, commands, *topics.values())
    tenant = key.tenant_id.encode()
    found = ServerHistory(kafka_partition(tenant, len(counts[settings.changelog])))
    await _read_state(settings, found, key)
    subjects = await _subjects(settings, registry, commands, key.tenant_id, len(counts[commands]))
    for name, kind, moment in _DECISIONS:
        topic_key = key.topic_key() if name == "verdict" else tenant
        where = TopicPartition(topics[name], kafka_partition(topic_key, len(counts[topics[name]])))
        codec = AvroCodec(name, registry)
        async for record in read_partitions(cluster_of(settings), {where: None}):
            if record.key != topic_key or record.value is None:
                continue
            content = codec.decode(record.value)
            about = _server_of(name, content, subjects)
            if about in (key.server, None):
                found.history.append({"at": content[moment], "kind": kind, "server": about, "record": content})
    found.history.sort(key=lambda row: row["at"])
    found.history = [to_json(row) for row in found.history]
    return found


async def _read_state(settings: Settings, found: ServerHistory, key: ServerKey) -> None:
    keys = {
        "server": server_key(key),
        "tenant": tenant_key(key.tenant_id),
        "forgotten": tombstone_key(key),
        "source_offset": MARKER,
        "commands_offset": MERGED_MARKER,
        "format": state_format.STATE_FORMAT_KEY,
    }
    changelog = KafkaLog(cluster_of(settings), [settings.changelog], partitions=[found.partition])
    rows = await read_table(changelog, bytes, set(keys.values()))
    state_format.refuse_other(rows.get(keys["format"]), STATE_FORMAT)
    found.markers = {
        name: None if (value := rows.get(keys[name])) is None else int(value)
        for name in ("source_offset", "commands_offset")
    }
    shown = {
        name: None if (value := rows.get(keys[name])) is None else shown_row(keys[name], value)
        for name in ("server", "tenant", "forgotten")
    }
    found.server, found.tenant, found.forgotten = shown["server"], shown["tenant"], shown["forgotten"]


async def _subjects(
    settings: Settings, registry: SchemaRegistry, commands: str, tenant_id: str, partitions: int
) -> dict[str, str | None]:
    """The server that each command of a tenant is about, as far as the commands are still held."""
    subjects = {}
    codec = AvroCodec("admin_command", registry)
    where = TopicPartition(commands, kafka_partition(tenant_id.encode(), partitions))
    async for record in read_partitions(cluster_of(settings), {where: None}):
        if record.key == tenant_id.encode():
            try:
                command = command_of(codec.decode(record.value))
            except (MalformedRecordError, ValueError):
                continue  # it is a dead letter, and has no audit record
            subjects[command.command_id] = subject_of(command)
    return subjects


def _server_of(name: str, content: dict[str, Any], subjects: dict[str, str | None]) -> str | None:
    """The server that a decision is about; None for all of the tenant, and where nothing tells any more."""
    if name == "audit_record":
        return subjects.get(content["command_id"])
    server: str | None = content["server"]
    return server
