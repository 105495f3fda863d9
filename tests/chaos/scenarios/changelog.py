"""A changelog that somebody deletes, cuts, or that the broker compacts as hard as it can."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import PolicyViolationError

from streams.domain.time import DAY_MS
from streams.engine.partition.restore import FILLED_AT, KEPT_SECONDS, POSITION
from streams.kafka.provisioning import create_topics, topics_of
from streams.kafka.reader import partitions_of, read_settled
from streams.kafka.security import cluster_of
from streams.state.stores import RocksDBStore
from tests.chaos.evidence import store_rows
from tests.chaos.feeds import START, Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import Worker

OWN: dict[str, Any] = {"batch_records": 5, "instance_id": "worker-1"}
SEGMENT_MS = 100
HARD = {
    "segment.ms": str(SEGMENT_MS),
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": str(SEGMENT_MS),
}
CLEANER = {"log.cleaner.backoff.ms": "500"}
CLEANED_SECONDS = 120
FORGOTTEN_DAYS = 600
"""So long after their last connection all servers are forgotten."""
WITNESS = b"\0chaos-witness"


async def _stopped_midway(trial: Trial) -> None:
    """Stop a worker amid the first half of a feed, or behind it; the other half waits for another one."""
    count = trial.size(750, 6_000)
    first = await trial.load_part(0, 2, count)
    worker = await trial.worker(**OWN)
    await trial.reach(trial.chance.randint(first // 2, first), worker)
    await _stop(trial, worker)
    await trial.load_part(1, 2, count)


async def _stop(trial: Trial, worker: Worker) -> None:
    worker.signal(signal.SIGTERM)
    code = await worker.wait()
    expect(code == 0, f"a worker that was asked to end gave exit code {code}: {trial.tail()}")


async def _admin(trial: Trial) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.kafka.bootstrap)
    await admin.start()
    return admin


async def _make_anew(trial: Trial) -> None:
    """Delete the changelog and create it again, as an operator might by mistake."""
    admin = await _admin(trial)
    try:
        await admin.delete_topics([trial.settings.changelog])
        async with asyncio.timeout(30):
            while trial.settings.changelog in await admin.list_topics():
                await asyncio.sleep(0.05)
            while trial.settings.changelog not in await create_topics(trial.settings):
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


@scenario(in_short=False)
async def changelog_deleted(trial: Trial) -> None:
    """The changelog is deleted and made anew: state and outputs come again from the source, with the same ids."""
    await _stopped_midway(trial)
    await _make_anew(trial)
    worker = await trial.worker(**OWN)
    expect(await worker.wait() == 0, f"the worker ended with {worker.code}: {trial.tail()}")
    expect("it was deleted or truncated" in worker.log, f"nothing tells that the changelog is gone: {trial.tail()}")
    await trial.verify(again=True)


@scenario()
async def changelog_deleted_and_longer_than_before(trial: Trial) -> None:
    """The changelog is made anew and outgrows the old one before a worker with an old RocksDB comes back."""
    await _stopped_midway(trial)
    old = await _ends(trial)
    await _make_anew(trial)
    worker = await trial.worker(**{**OWN, "batch_records": 1, "state_dir": f"{trial.settings.state_dir}-2"})
    while True:
        has_ended = worker.code is not None
        new = await _ends(trial)
        if all(new[partition] > end for partition, end in old.items()):
            break
        expect(not has_ended, f"the new changelog ends at {new}, the old one did at {old}: {trial.tail()}")
        await asyncio.sleep(0.1)
    await _stop(trial, worker)
    trial.say(f"the old changelog ended at {old}, the new one ends at {new}")
    worker = await trial.worker(**OWN)
    expect(await worker.wait() == 0, f"the worker ended with {worker.code}: {trial.tail()}")
    await trial.verify(again=True)


async def _ends(trial: Trial) -> dict[int, int]:
    """Where each partition of the changelog ends."""
    consumer = AIOKafkaConsumer(bootstrap_servers=trial.kafka.bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = (await partitions_of(cluster_of(trial.settings), trial.settings.changelog))[trial.settings.changelog]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
    finally:
        await consumer.stop()


async def _cut(trial: Trial, before: Mapping[int, int]) -> None:
    """Delete the records of the changelog before an offset of each partition."""
    admin = await _admin(trial)
    try:
        name = trial.settings.changelog
        config = {**_configs(trial), "cleanup.policy": "compact,delete"}  # the broker cuts no other topics
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=config)])
        cuts = {TopicPartition(name, number): RecordsToDelete(before_offset=end) for number, end in before.items()}
        async with asyncio.timeout(30):
            while True:  # until the broker has seen its new policy
                with suppress(PolicyViolationError):
                    await admin.delete_records(cuts)
                    return
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


@scenario(in_short=False)
async def changelog_cut_behind_rocksdb(trial: Trial) -> None:
    """Records that RocksDB has are deleted from the changelog: the worker goes on as if nothing had happened."""
    await _stopped_midway(trial)
    known = {int(folder.name.rpartition("-")[2]): store_rows(folder) for folder in trial.stores()}
    await _cut(trial, {partition: int(rows[POSITION]) for partition, rows in known.items() if POSITION in rows})
    worker = await trial.worker(**OWN)
    expect(await worker.wait() == 0, f"the worker ended with {worker.code}: {trial.tail()}")
    await trial.verify(cut=True)


@scenario()
async def changelog_cut_and_rocksdb_gone(trial: Trial) -> None:
    """The changelog is cut in the middle and RocksDB is gone: states are lost, and the worker must say so."""
    await _stopped_midway(trial)
    await _cut(trial, {partition: end // 2 for partition, end in (await _ends(trial)).items()})
    trial.wipe()
    worker = await trial.worker(**OWN)
    await worker.wait()
    lines = [line for line in worker.log.splitlines() if "CRITICAL" in line and trial.settings.changelog in line]
    expect(bool(lines), f"states are lost, and no CRITICAL line names the changelog that was cut: {trial.tail()}")


def _age(folders: Sequence[Path], seconds: int) -> None:
    """Let the RocksDB of a stopped worker be older than it is."""
    for folder in folders:
        store = RocksDBStore(folder)
        try:
            filled_at = int(store.get(FILLED_AT) or 0)
            store.write({FILLED_AT: b"%d" % (filled_at - seconds * 1000)})
        finally:
            store.close()


async def _compacts_hard(trial: Trial) -> None:
    """Let the broker compact all of the changelog that it may, and soon."""
    await create_topics(trial.settings)
    admin = await _admin(trial)
    try:
        configs = {**_configs(trial), **HARD}
        name = trial.settings.changelog
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", configs=CLEANER)])
    finally:
        await admin.close()


@scenario(owns_broker=True, in_short=False)
async def changelog_compacted_hard(trial: Trial) -> None:
    """The broker compacts all it may, tombstones and markers included, and RocksDB is deleted again and again."""
    await _compacts_hard(trial)
    rounds = trial.size(2, 6)
    for number in range(rounds):
        await trial.load_part(number, rounds, trial.size(1_000, 3_300))
        worker = await trial.worker(**OWN)
        await trial.advance(worker)
        await worker.kill()
        await _until_compacted(trial)
        trial.wipe()
    await trial.finish(**OWN)
    await _until_compacted(trial)
    await trial.verify()


@scenario(owns_broker=True)
async def changelog_compacted_behind_old_rocksdb(trial: Trial) -> None:
    """A RocksDB comes back that is older than the broker keeps deletions for: no forgotten server lives again."""
    await _compacts_hard(trial)
    count = trial.size(300, 3_000)
    for days, state_dir in ((10, trial.settings.state_dir), (FORGOTTEN_DAYS, f"{trial.settings.state_dir}-2")):
        feed = Feed("backlog", trial.chance.randrange(10**6), count, step_ms=DAY_MS // count)
        await trial.load(feed, until_ms=START + days * DAY_MS)
        worker = await trial.worker(**{**OWN, "state_dir": state_dir})
        expect(await worker.wait() == 0, f"the worker ended with {worker.code}: {trial.tail()}")
    for _ in range(2):  # a deletion goes when it is compacted for the second time
        await _until_compacted(trial)
    _age(trial.stores(), KEPT_SECONDS)
    await trial.finish(**OWN)
    await trial.verify()


def _configs(trial: Trial) -> dict[str, str]:
    """Of the changelog, as it was created."""
    topics = {topic.name: topic for topic in topics_of(trial.settings)}
    return dict(topics[trial.settings.changelog].topic_configs)


async def _until_compacted(trial: Trial) -> None:
    """Until the cleaner has been over all that the workers wrote: in front of the last segment each key stands once.

    The cleaner leaves the last segment alone, which can hold most of the log, and only what is written begins another
    one. So a witness is written, twice, and once more when a segment is over its time. It is the deletion of a key that
    nobody has, so that no state changes; and as it stands twice before, nothing passes that was not compacted.
    """
    partitions = (await partitions_of(cluster_of(trial.settings), trial.settings.changelog))[trial.settings.changelog]
    async with AIOKafkaProducer(bootstrap_servers=trial.kafka.bootstrap) as producer:
        for tp in partitions * 2:
            await producer.send_and_wait(tp.topic, key=WITNESS, partition=tp.partition)
        await asyncio.sleep(2 * SEGMENT_MS / 1000)
        ends = {
            tp.partition: (await producer.send_and_wait(tp.topic, key=WITNESS, partition=tp.partition)).offset
            for tp in partitions
        }
    deadline = time.monotonic() + CLEANED_SECONDS
    while True:
        keys: dict[int, list[bytes]] = {number: [] for number in ends}
        async for record in read_settled(cluster_of(trial.settings), trial.settings.changelog):
            if record.offset < ends[record.partition]:
                keys[record.partition].append(record.key)
        repeats = {number: len(found) - len(set(found)) for number, found in keys.items()}
        if not any(repeats.values()):
            trial.say(f"compacted: of {sum(ends.values())} offsets {sum(map(len, keys.values()))} rows are left")
            return
        expect(time.monotonic() < deadline, f"not compacted within {CLEANED_SECONDS} s, repeats left: {repeats}")
        await asyncio.sleep(0.5)
