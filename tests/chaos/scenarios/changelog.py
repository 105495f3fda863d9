"""A changelog that somebody deletes, cuts, or that the broker compacts as hard as it can."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.adapters.kafka_security import cluster_of
from streams.adapters.topic_reader import partitions_of, read_all
from streams.adapters.topics import create_topics, topics_of
from streams.engine.restore import POSITION
from tests.chaos.evidence import store_rows
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import Worker

OWN: dict[str, Any] = {"batch_records": 5, "instance_id": "worker-1"}
HARD = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
}


async def _stopped_midway(trial: Trial) -> int:
    records = await trial.load_mixed(1_500, 12_000)
    worker = await trial.worker(**OWN)
    await trial.reach(trial.chance.randint(records // 3, records // 2), worker)
    await _stop(trial, worker)
    return records


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
    expect("built again" in worker.log, f"nothing tells that the state is built again: {trial.tail()}")
    await trial.verify(again=True)


@scenario()
async def changelog_deleted_and_longer_than_before(trial: Trial) -> None:
    """The changelog is made anew and outgrows the old one before a worker with an old RocksDB comes back."""
    await _stopped_midway(trial)
    old = await _ends(trial)
    await _make_anew(trial)
    worker = await trial.worker(**{**OWN, "batch_records": 1, "state_dir": f"{trial.settings.state_dir}-2"})
    new = await _ends(trial)
    while any(new[partition] <= end for partition, end in old.items()):
        expect(worker.code is None, f"the new changelog ends at {new}, the old one did at {old}: {trial.tail()}")
        await asyncio.sleep(0.1)
        new = await _ends(trial)
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
        await admin.delete_records(cuts)
    finally:
        await admin.close()


@scenario()
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


@scenario()
async def changelog_compacted_hard(trial: Trial) -> None:
    """The broker compacts all it may, tombstones and markers included, and RocksDB is deleted again and again."""
    await create_topics(trial.settings)
    admin = await _admin(trial)
    try:
        configs = {**_configs(trial), **HARD}
        name = trial.settings.changelog
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=configs)])
    finally:
        await admin.close()
    records = await trial.load_mixed(2_000, 20_000)
    progress, rounds = 0, trial.size(2, 6)
    for _ in range(rounds):
        worker = await trial.worker(**OWN)
        progress = await trial.reach(progress + records // (rounds + 2), worker)
        await worker.kill()
        await _until_compacted(trial)
        trial.wipe()
    await trial.finish(**OWN)
    await _until_compacted(trial)
    await trial.verify()


def _configs(trial: Trial) -> dict[str, str]:
    """Of the changelog, as it was created."""
    topics = {topic.name: topic for topic in topics_of(trial.settings)}
    return dict(topics[trial.settings.changelog].topic_configs)


async def _until_compacted(trial: Trial) -> None:
    """Until the cleaner has been over the changelog: the keys of its older half stand there once."""
    async with asyncio.timeout(120):
        while True:
            keys: dict[int, list[bytes]] = {}
            async for record in read_all(cluster_of(trial.settings), trial.settings.changelog):
                keys.setdefault(record.partition, []).append(record.key)
            halves = {partition: found[: len(found) // 2] for partition, found in keys.items()}
            if all(len(set(half)) == len(half) for half in halves.values()):
                trial.say(f"compacted: {sum(map(len, keys.values()))} rows left")
                return
            await asyncio.sleep(1)
