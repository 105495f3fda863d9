"""Sends one feed at a pace, as a program of its own; what it sends is encoded beforehand, so that it keeps the pace."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_record
from streams.wire.registry import registry_of
from tests.chaos.feeds import feed_of, lines

SCHEMA = "inbound_connection"
BLOCK_RECORDS = 1_000
BATCH_BYTES = 1 << 19
"""More than a block."""

Block = dict[int, list[tuple[bytes, bytes]]]
"""Keys and values by partition."""


def encode(settings: Settings, feed: Iterable[bytes], file: IO[bytes]) -> None:
    """Write a feed of valid connections to a file, as the broker is to have them."""
    codec, partitions = AvroCodec(SCHEMA, registry_of(settings)), dict[bytes, int]()
    block: Block = {}
    for number, line in enumerate(feed, start=1):
        record = connection_record(line)
        key = record["tenant_id"].encode()
        if key not in partitions:
            partitions[key] = kafka_partition(key, settings.partitions)
        block.setdefault(partitions[key], []).append((key, codec.encode(record)))
        if number % BLOCK_RECORDS == 0:
            pickle.dump(block, file)
            block = {}
    pickle.dump(block, file)


def blocks(file: IO[bytes]) -> Iterator[Block]:
    """What `encode` wrote."""
    file.seek(0)
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


async def send(settings: Settings, file: IO[bytes], per_second: int) -> float:
    """Send a file at a pace, or as fast as the broker takes it where that is less; gives the seconds it took."""
    topic = settings.topic(TOPICS[SCHEMA])
    producer = cluster_of(settings).producer(acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        sent, pending = 0, []
        begun = time.monotonic()
        for block in blocks(file):
            await asyncio.sleep(max(0.0, begun + sent / per_second - time.monotonic()))
            for partition, records in block.items():
                batch = producer.create_batch()
                for key, value in records:
                    if batch.append(timestamp=None, key=key, value=value) is None:
                        raise ValueError(f"a block has more than {BATCH_BYTES} bytes for partition {partition}")
                pending.append(await producer.send_batch(batch, topic, partition=partition))
                sent += len(records)
        await asyncio.gather(*pending)
        return time.monotonic() - begun
    finally:
        await producer.stop()


async def flood(settings: Settings, feed: Iterable[bytes], per_second: int) -> float:
    """Encode a feed, then send it; gives the seconds it took to send."""
    await create_topics(settings)
    with TemporaryFile() as file:
        encode(settings, feed, file)
        return await send(settings, file, per_second)


def main(arguments: Sequence[str]) -> int:
    """Send what a file describes; the seconds go to stdout."""
    given = json.loads(Path(arguments[0]).read_text())
    corner = Settings(bootstrap=given["bootstrap"], **given["settings"])
    print(asyncio.run(flood(corner, lines(feed_of(given["step"]["connections"])), given["per_second"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
