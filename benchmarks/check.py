"""Compares what a run left behind with the oracle; what was only in a process's memory does not count."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.engines import PEER_VERDICTS_TOPIC, Engine, Result, Run
from benchmarks.oracle import PeerOutcome, ProductOutcome, digest
from benchmarks.peers.job import STATE, decode_verdict
from streams.kafka.topics import TOPICS
from streams.state.server_row import decode_state
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry

_STATE_ROW = b"s/"
Ends = Mapping[tuple[str, int], int]
PeerState = tuple[int, str, bool]


async def ends_of(bootstrap: str, topics: list[str]) -> dict[tuple[str, int], int]:
    """Where the partitions of topics end."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {(partition.topic, partition.partition): end for partition, end in ends.items()}


async def committed(bootstrap: str, topic: str, begin: Ends) -> AsyncIterator[Any]:
    """The committed records of a topic from `begin` to its end as it is now."""
    ends = {TopicPartition(*place): end for place, end in (await ends_of(bootstrap, [topic])).items()}
    starts = {partition: begin.get((partition.topic, partition.partition), 0) for partition in ends}
    if starts == ends:
        return
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(ends))
        for partition, start in starts.items():
            consumer.seek(partition, start)
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


def output_topics(run: Run, engine: Engine) -> list[str]:
    """The topics that the runs of an engine share."""
    if not engine.is_product:
        return [run.settings.topic(PEER_VERDICTS_TOPIC)]
    names = [TOPICS[name] for name in ("verdict", "admin_notification", "server_report")]
    return [run.settings.topic(name) for name in (*names, f"{TOPICS['inbound_connection']}.dlq")]


async def topics_of_run(run: Run) -> list[str]:
    """The topics that only this run uses."""
    admin = AIOKafkaAdminClient(bootstrap_servers=run.settings.bootstrap)
    await admin.start()
    try:
        return [topic for topic in await admin.list_topics() if run.group in topic]
    finally:
        await admin.close()


def differences(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What is missing, too much or different, as readable counts."""
    missing = sum(key not in found for key in wanted)
    extra = sum(key not in wanted for key in found)
    wrong = sum(key in wanted and value != wanted[key] for key, value in found.items())
    counts = ((missing, "missing"), (extra, "too many"), (wrong, "wrong"))
    return [f"{count} of {len(wanted)} {what} {kind}" for count, kind in counts if count]


async def check_product(run: Run, begin: Ends, wanted: ProductOutcome) -> list[str]:
    """Every verdict, notification and server row exactly once, no dead letter, and each state the fold's."""
    bootstrap, registry, wrong = run.settings.bootstrap, LocalRegistry(), list[str]()
    for schema, what, id_field in (
        ("verdict", "verdicts", "verdict_id"),
        ("admin_notification", "notifications", "notification_id"),
    ):
        codec, found, times = AvroCodec(schema, registry), dict[str, bytes](), Counter[str]()
        async for row in committed(bootstrap, run.settings.topic(TOPICS[schema]), begin):
            record = codec.decode(row.value)
            found[record[id_field]] = digest(record)
            times[record[id_field]] += 1
        wrong += differences(what, found, getattr(wanted, what))
        if doubled := sum(count > 1 for count in times.values()):
            wrong.append(f"{doubled} {what} more than once")
    codec, rows = AvroCodec("server_report", registry), dict[str, bytes]()
    async for row in committed(bootstrap, run.settings.topic(TOPICS["server_report"]), begin):
        rows[row.key.decode()] = digest(codec.decode(row.value))
    wrong += differences("server rows", rows, wanted.servers)
    letters = run.settings.topic(f"{TOPICS['inbound_connection']}.dlq")
    if dead := sum([1 async for _ in committed(bootstrap, letters, begin)]):
        wrong.append(f"{dead} dead letters")
    states = dict[str, bytes]()
    async for row in committed(bootstrap, run.settings.changelog, begin):
        if row.key.startswith(_STATE_ROW) and row.value is not None:
            states[row.key[len(_STATE_ROW) :].decode()] = digest(to_record(decode_state(row.value)[0]))
    return wrong + differences("states", states, wanted.states)


async def check_peer(run: Run, engine: Engine, begin: Ends, wanted: PeerOutcome) -> list[str]:
    """The verdicts of each server in their order, and its state at the end."""
    verdicts: dict[str, list[tuple[str, bool]]] = {}
    async for row in committed(run.settings.bootstrap, run.settings.topic(PEER_VERDICTS_TOPIC), begin):
        verdict = decode_verdict(row.value)
        key = f"{verdict['tenant_id']}/{verdict['server']}"
        verdicts.setdefault(key, []).append((verdict["build"], verdict["below_floor"]))
    wrong = differences("servers' verdicts", verdicts, wanted.verdicts)
    states = sqlite_states(run.folder) if engine.result is Result.SQLITE else await _changelog_states(run, engine)
    return wrong + differences("states", states, wanted.states)


async def _changelog_states(run: Run, engine: Engine) -> dict[str, PeerState]:
    topics = [topic for topic in await topics_of_run(run) if "changelog" in topic]
    if len(topics) != 1:
        raise ValueError(f"{engine.name}: one changelog topic was expected, found {topics}")
    states: dict[str, PeerState] = {}
    async for row in committed(run.settings.bootstrap, topics[0], {}):
        found = peer_state(engine.result, row.key, row.value)
        if found is not None:
            states[found[0]] = found[1]
    return states


def peer_state(kind: Result, key: bytes, value: bytes) -> tuple[str, PeerState] | None:
    """Server and state in a changelog record; None for a row of the engine's own."""
    if kind is Result.STRUCT:
        _, _, count, is_below = STATE.unpack_from(value)
        return key.decode(), (count, value[STATE.size :].decode(), bool(is_below))
    if kind is Result.FAUST:
        state = json.loads(value)
        return json.loads(key), (state[2], state[3], state[4])
    tenant, _, server = key.partition(b"|")
    if not server.startswith(b'"'):
        return None
    state = json.loads(value)
    return f"{tenant.decode().strip(chr(34))}/{json.loads(server)}", (state[2], state[3], state[4])


def sqlite_states(folder: Path) -> dict[str, PeerState]:
    """The states in Bytewax's recovery store, the newest snapshot of each."""
    states: dict[str, PeerState] = {}
    for file in sorted(folder.glob("*.sqlite3")):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
            rows = store.execute(
                "SELECT state_key, ser_change FROM snaps WHERE step_id LIKE '%servers%' ORDER BY snap_epoch"
            )
            for key, change in rows:
                if change is not None:
                    state = pickle.loads(change)  # written by the engine that this machine has just run
                    states[key] = state[2], state[3], state[4]
    return states


def check_totals(log: str, events: int, wanted: PeerOutcome) -> list[str]:
    """Changes and connections that a floor counted in its memory."""
    line = next((line for line in log.splitlines() if line.startswith("TOTALS ")), "TOTALS none none")
    wanted_line = f"TOTALS {wanted.verdict_count} {events}"
    return [] if line == wanted_line else [f"{line}, must be {wanted_line}"]
