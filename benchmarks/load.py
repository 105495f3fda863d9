"""Writes the feed to its topics, and works out meanwhile what a race over it must end with."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.engines import PEER_VERDICTS_TOPIC, SHORT_SHARE
from benchmarks.feed import Feed, connections
from benchmarks.oracle import PeerOutcome, ProductOutcome, peer_outcome, product_outcome
from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

KAFKA_BATCH_BYTES = 512 << 10
BEHIND_MS = 60_000
"""The last connection is this old when loading begins: nothing in the feed may be ahead of a worker's clock."""
STALE_SECONDS = 2_400.0
"""From then on a feed is too old for a worker: its servers' rows are due again an hour after their first connection."""
SHORT_TOPIC = "short.connections"


@dataclass
class Loaded:
    """A feed in its topics, and what must come of it."""

    settings: Settings
    feed: Feed
    short_feed: Feed
    product: ProductOutcome
    peers: PeerOutcome
    short_peers: PeerOutcome
    loaded_at: float

    def is_stale(self) -> bool:
        """Whether timers of its servers are about to come up."""
        return time.time() - self.loaded_at > STALE_SECONDS


Row = tuple[str, bytes | None, bytes | None]
"""The tenant to whose partition a record goes, its key and its value."""


async def write(bootstrap: str, topic: str, count: int, rows: Iterable[Row], first: Mapping[bytes, bytes]) -> int:
    """Fill the `count` partitions of a topic, each with the records `first` in front; gives the bytes of the others."""
    size = 0
    where: dict[str, int] = {}
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_batch_size=KAFKA_BATCH_BYTES, enable_idempotence=True
    ) as producer:
        batches = {number: producer.create_batch() for number in range(count)}
        for batch in batches.values():
            for key, value in first.items():
                batch.append(key=key, value=value, timestamp=None)
        for tenant, row_key, row_value in rows:
            if tenant not in where:
                where[tenant] = kafka_partition(tenant.encode(), count)
            number = where[tenant]
            size += len(row_key or b"") + len(row_value or b"")
            if batches[number].append(key=row_key, value=row_value, timestamp=None) is None:
                await producer.send_batch(batches[number], topic, partition=number)
                batches[number] = producer.create_batch()
                batches[number].append(key=row_key, value=row_value, timestamp=None)
        for number, batch in batches.items():
            await (await producer.send_batch(batch, topic, partition=number))
    return size


async def produce(settings: Settings, topic: str, feed: Feed) -> None:
    """Write a feed to a topic, by the product's codec and Kafka's partitioner."""
    codec = AvroCodec("inbound_connection", LocalRegistry())
    rows = ((row["tenant_id"], row["tenant_id"].encode(), codec.encode(row)) for _, row in connections(feed))
    await write(settings.bootstrap, topic, settings.partitions, rows, {})


def _produce_all(settings: Settings, feed: Feed, short_feed: Feed) -> tuple[PeerOutcome, PeerOutcome]:
    asyncio.run(produce(settings, settings.topic(TOPICS["inbound_connection"]), feed))
    asyncio.run(produce(settings, settings.topic(SHORT_TOPIC), short_feed))
    return peer_outcome(feed), peer_outcome(short_feed)


async def _create(settings: Settings) -> None:
    await create_topics(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        names = [settings.topic(name) for name in (SHORT_TOPIC, PEER_VERDICTS_TOPIC)]
        await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in names])
    finally:
        await admin.close()


def load(bootstrap: str, name: str, events: int, servers: int, state_dir: Path, has_worker: bool = True) -> Loaded:
    """Load a feed that ends about now into topics that begin with `name`; without a worker, no rules are folded."""
    loaded_at = time.time()
    settings = Settings(bootstrap=bootstrap, app_id=name, topic_prefix=f"{name}.", state_dir=str(state_dir))
    feed = Feed(events, servers, round(loaded_at * 1000) - BEHIND_MS)
    short_feed = feed.beginning(max(1, events // SHORT_SHARE))
    asyncio.run(_create(settings))
    shares = os.cpu_count() or 1
    # Spawned, not forked: the broker is a child of a thread of this process.
    with ProcessPoolExecutor(shares, mp_context=multiprocessing.get_context("spawn")) as pool:
        folds = [pool.submit(product_outcome, feed, share, shares) for share in range(shares) if has_worker]
        produced = pool.submit(_produce_all, settings, feed, short_feed)
        product = ProductOutcome()
        for fold in folds:
            product.add(fold.result())
        peers, short_peers = produced.result()
    return Loaded(settings, feed, short_feed, product, peers, short_peers, loaded_at)


def run_settings(loaded: Loaded, group: str, folder: Path) -> Settings:
    """The settings of one run over the feed."""
    return replace(loaded.settings, app_id=group, state_dir=str(folder))
