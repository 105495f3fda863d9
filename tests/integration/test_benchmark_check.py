"""The race's check reads real topics, and objects to every way in which an engine can be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.check import check_peer, check_product, ends_of, output_topics
from benchmarks.engines import PEER_VERDICTS_TOPIC, WORKER, Engine, Result, Run
from benchmarks.feed import Feed, connections
from benchmarks.oracle import peer_outcome, product_outcome
from benchmarks.peers import job
from streams.domain.policy.rulebook import Rulebook
from streams.kafka.provisioning import create_topics
from streams.kafka.topics import TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import DEFAULT_POLICY, Settings
from streams.state.keys import server_key
from streams.state.server_row import encode_state
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_of, to_record
from streams.wire.registry import LocalRegistry

FEED = Feed(300, 20, 1_790_000_000_000)
Row = tuple[str, bytes, bytes | None]


def rows_of_a_right_worker(run: Run) -> list[Row]:
    """What a worker writes, each record once."""
    simulation, registry = Simulation(Rulebook((read_policy(DEFAULT_POLICY),), shipped_catalogue())), LocalRegistry()
    for _, record in connections(FEED):
        simulation.feed(connection_of(record))
    results, rows = simulation.results, list[Row]()
    for schema, found in (
        ("verdict", results.verdicts),
        ("admin_notification", results.notifications),
        ("server_report", results.servers.values()),
    ):
        codec, topic = AvroCodec(schema, registry), run.settings.topic(TOPICS[schema])
        rows += [(topic, f"{item.tenant_id}/{item.server}".encode(), codec.encode(to_record(item))) for item in found]
    for key, state in simulation.states.items():
        rows.append((run.settings.changelog, server_key(key), encode_state(state, None)))
    return rows


def first(rows: list[Row], topic: str) -> int:
    return next(index for index, row in enumerate(rows) if row[0].endswith(topic))


async def write(bootstrap: str, rows: Sequence[Row]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for topic, key, value in rows:
            await producer.send(topic, key=key, value=value)


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Run:
    return Run(settings, settings.topic(TOPICS["inbound_connection"]), FEED.count, tmp_path)


async def checked(run: Run, rows: list[Row], before: Sequence[Row] = ()) -> list[str]:
    await create_topics(run.settings)
    await write(run.settings.bootstrap, before)
    begin = await ends_of(run.settings.bootstrap, output_topics(run, WORKER))
    await write(run.settings.bootstrap, rows)
    return await check_product(run, begin, product_outcome(FEED))


def test_a_right_worker_is_equal_and_an_earlier_run_does_not_count(run: Run) -> None:
    rows = rows_of_a_right_worker(run)
    earlier = [row for row in rows if row[0] != run.settings.changelog]
    assert asyncio.run(checked(run, rows, before=earlier)) == []


@pytest.mark.parametrize("what", ["verdicts", "notifications"])
def test_a_record_written_twice_is_seen(run: Run, what: str) -> None:
    rows = rows_of_a_right_worker(run)
    index = first(rows, f"enforcement.{what}.v1")
    assert asyncio.run(checked(run, [*rows, rows[index]])) == [f"1 {what} more than once"]


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("enforcement.verdicts.v1", "verdicts"),
        ("enforcement.notifications.v1", "notifications"),
        ("enforcement.servers.v1", "server rows"),
        ("state-changelog", "states"),
    ],
)
def test_a_record_that_is_missing_is_seen(run: Run, topic: str, what: str) -> None:
    rows = rows_of_a_right_worker(run)
    del rows[first(rows, topic)]
    (complaint,) = asyncio.run(checked(run, rows))
    assert complaint.endswith(f"{what} missing")


def test_a_lost_connection_and_a_dead_letter_are_seen(run: Run) -> None:
    rows = rows_of_a_right_worker(run)
    index = first(rows, "state-changelog")
    rows[index] = (*rows[index][:2], rows[index + 1][2])
    rows.append((f"{run.topic}.dlq", b"x", b"x"))
    assert asyncio.run(checked(run, rows)) == ["1 dead letters", "1 of 20 states wrong"]


async def checked_peer(run: Run, skipped: int) -> list[str]:
    """A peer that keeps packed states, and never sees one of the connections."""
    changelog, verdicts = f"{run.group}-servers-changelog", run.settings.topic(PEER_VERDICTS_TOPIC)
    admin = AIOKafkaAdminClient(bootstrap_servers=run.settings.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(changelog, 3, 1), NewTopic(verdicts, 3, 1)])
    await admin.close()
    states: dict[str, list[Any]] = {}
    rows: list[Row] = []
    for number, (_, connection) in enumerate(connections(FEED)):
        if number == skipped:
            continue
        key = job.key_of(connection)
        states[key], has_changed = job.apply(states.get(key), connection)
        packed = job.STATE.pack(*states[key][:3], states[key][4]) + states[key][3].encode()
        rows.append((changelog, key.encode(), packed))
        if has_changed:
            rows.append((verdicts, key.encode(), job.encode_verdict(job.verdict_of(connection, states[key]))))
    await write(run.settings.bootstrap, rows)
    return await check_peer(run, Engine("peer", lambda _: [], Result.STRUCT), {}, peer_outcome(FEED))


def test_a_right_peer_is_equal_and_one_that_loses_a_connection_is_not(run: Run) -> None:
    assert asyncio.run(checked_peer(run, -1)) == []
    again = replace(run, settings=replace(run.settings, app_id="lossy", topic_prefix="lossy."))
    assert asyncio.run(checked_peer(again, 250)) == ["1 of 20 states wrong"]
