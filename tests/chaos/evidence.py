"""What the topics of a service hold, read with read_committed to their ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.state.stores import RocksDBStore
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

INPUTS = ("inbound_connection", "admin_command")
END = b"\xff" * 9
CONFLUENT_MAGIC = b"\0"

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(slots=True)
class Evidence:
    """Records in the order of their partitions; states by partition, as the changelog gives them.

    `suspects` are the input records that are dead letters or should be; `ends` is behind the last record of each input
    partition that has one.
    """

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[bytes, dict[str, Any] | None]] = field(default_factory=list)
    suspects: dict[Place, bytes | None] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    inputs: int = 0
    letters: list[tuple[Place, bytes | None]] = field(default_factory=list)
    changelog: dict[int, list[tuple[int, bytes, bytes | None]]] = field(default_factory=dict)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)

    def state(self, partition: int, before: int | None = None) -> dict[bytes, bytes]:
        """A partition's state rebuilt from the changelog, up to an offset."""
        rows: dict[bytes, bytes | None] = {}
        for offset, key, value in self.changelog.get(partition, ()):
            if before is not None and offset >= before:
                break
            rows[key] = value
        return {key: value for key, value in rows.items() if value is not None}


async def gather(settings: Settings) -> Evidence:
    """Read everything."""
    found, registry = Evidence(), LocalRegistry()
    verdict, note, row, audit = (
        AvroCodec(name, registry) for name in ("verdict", "admin_notification", "server_report", "audit_record")
    )

    def read(name: str) -> Any:
        return read_settled(cluster_of(settings), settings.topic(TOPICS[name]))

    found.verdicts = [verdict.decode(record.value) async for record in read("verdict") if record.value is not None]
    found.notifications = [note.decode(record.value) async for record in read("admin_notification")]
    found.audit = [audit.decode(record.value) async for record in read("audit_record")]
    async for record in read("server_report"):
        found.rows.append((record.key, row.decode(record.value) if record.value is not None else None))
    for name in INPUTS:
        topic = settings.topic(TOPICS[name])
        async for record in read_settled(cluster_of(settings), f"{topic}.dlq"):
            found.letters.append((_place(record), record.value))
        refused = {place for place, _ in found.letters}
        async for record in read_settled(cluster_of(settings), topic):
            found.inputs += 1
            found.ends[topic, record.partition] = record.offset + 1
            place = (topic, record.partition, record.offset)
            if place in refused or not (record.value or b"").startswith(CONFLUENT_MAGIC):
                found.suspects[place] = record.value
    async for record in read_settled(cluster_of(settings), settings.changelog):
        found.changelog.setdefault(record.partition, []).append((record.offset, record.key, record.value))
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.app_id)
    finally:
        await admin.close()
    found.committed = {(tp.topic, tp.partition): row.offset for tp, row in offsets.items()}
    return found


def _place(record: Any) -> Place:
    headers = dict(record.headers)
    return (
        headers.get("source.topic", b"?").decode(),
        int(headers.get("source.partition", b"-1")),
        int(headers.get("source.offset", b"-1")),
    )


@contextmanager
def _copied(folder: Path) -> Iterator[RocksDBStore]:
    """A copy is opened, so that the original stays as it was left."""
    with TemporaryDirectory(prefix="tes-chaos-") as scratch:
        copy = Path(scratch) / folder.name
        copy.mkdir()
        for item in folder.iterdir():
            if item.name != "LOCK" and item.is_file():
                (copy / item.name).write_bytes(item.read_bytes())
        store = RocksDBStore(copy)
        try:
            yield store
        finally:
            store.close()


def store_rows(folder: Path, start: bytes = b"", end: bytes = END) -> dict[bytes, bytes]:
    """The rows of a stopped worker's RocksDB.

    Raises:
        StoreError: it cannot be read.
    """
    with _copied(folder) as store:
        return dict(store.scan(start, end))


def store_values(folder: Path, keys: Iterable[bytes]) -> list[bytes | None]:
    """The values of keys in a stopped worker's RocksDB.

    Raises:
        StoreError: one cannot be read.
    """
    with _copied(folder) as store:
        return [store.get(key) for key in keys]


def repeated(items: list[Any]) -> dict[Any, int]:
    """What is there more than once, and how often."""
    return {item: count for item, count in Counter(items).items() if count > 1}
