"""The verifier finds what it is there to find: one record doubled, missing, out of order or false is enough."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.engine.partition.restore import POSITION
from streams.engine.partition.unit import MARKER
from streams.kafka.partitioner import kafka_partition
from streams.kafka.topics import TOPICS
from streams.operations.feeds import replay
from streams.settings.worker import Settings
from streams.state.stores import RocksDBStore
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry
from tests.chaos.evidence import Evidence, gather
from tests.chaos.feeds import UNTIL, Feed, lines
from tests.chaos.oracle import Fold, Step, fold
from tests.chaos.verifier import compare, is_the_same, settings_of
from tests.support.worker_results import expected

FEED, COMMANDS = Feed("mixed", 5, 400), Feed("commands", 5, 40)
PARTITIONS = 3


class Left:
    """What a sound run left behind, and what it should have left."""

    def __init__(self, plan_file: Path, found: Evidence, oracle: Fold) -> None:
        self.plan_file, self.found, self.oracle = plan_file, found, oracle
        self.plan = json.loads(plan_file.read_text())
        self.settings = settings_of(self.plan)
        self.stores = [Path(path) for path in self.plan["stores"]]


@pytest.fixture(scope="module")
def left(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("verifier")
    settings = Settings(
        bootstrap=bootstrap,
        app_id="tes-verifier",
        topic_prefix="verifier.",
        partitions=PARTITIONS,
        state_dir=str(folder / "state"),
        batch_records=50,
    )
    asyncio.run(replay(settings, lines(FEED), UNTIL, commands=lines(COMMANDS)))
    plan = {
        "bootstrap": bootstrap,
        "topic_prefix": settings.topic_prefix,
        "app_id": settings.app_id,
        "partitions": PARTITIONS,
        "policies": list(settings.policies),
        "steps": [{"connections": FEED.spec(), "commands": COMMANDS.spec(), "until_ms": UNTIL}],
        "again": False,
        "cut": False,
        "stores": [str(path) for path in settings.state_path.glob("*connections*")],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    oracle = fold([Step(lines(FEED), lines(COMMANDS), UNTIL)], settings.policies, PARTITIONS)
    return Left(folder / "plan.json", asyncio.run(gather(settings)), oracle)


def findings(left: Left, spoil: Callable[[Evidence], object], again: bool = False) -> list[str]:
    found = copy.deepcopy(left.found)
    spoil(found)
    return compare(found, left.oracle, left.settings, left.stores, again)


def test_the_oracle_is_the_simulation() -> None:
    ours = fold([Step(lines(FEED), lines(COMMANDS), UNTIL)], ("microsoft-2026-09",), PARTITIONS)
    verdicts, notifications, servers, refused, audit = expected(list(lines(FEED)), list(lines(COMMANDS)))
    assert to_record(tuple(ours.results.verdicts)) == verdicts
    assert to_record(tuple(ours.results.notifications)) == notifications
    assert [to_record(ours.results.servers[key]) for key in sorted(ours.results.servers)] == servers
    assert to_record(tuple(ours.results.audit)) == audit
    assert len(ours.refused) == refused


@pytest.mark.timeout(120)
def test_a_sound_run_gives_no_finding(left: Left) -> None:
    assert findings(left, lambda found: None) == []
    assert len(left.stores) == PARTITIONS
    assert left.found.letters


def double(records: list[Any]) -> None:
    records.insert(len(records) // 2, records[len(records) // 2])


def drop(records: list[Any]) -> None:
    del records[len(records) // 2]


def swap(records: list[Any], key: Callable[[Any], Any]) -> None:
    """Exchange the first two records of one key that has two."""
    places: dict[Any, int] = {}
    for place, record in enumerate(records):
        other = places.setdefault(key(record), place)
        if other != place:
            records[other], records[place] = record, records[other]
            return
    raise AssertionError("no key has two records")


def falsify(record: dict[str, Any], name: str, value: Any) -> None:
    assert record[name] != value
    record[name] = value


def server_of(record: dict[str, Any]) -> Any:
    return record["tenant_id"], record["server"]


def change_row(found: Evidence, change: Callable[[bytes, bytes | None], tuple[bytes, bytes | None] | None]) -> None:
    """Change or leave out rows of the changelog."""
    for partition, rows in found.changelog.items():
        changed = [(offset, change(key, value)) for offset, key, value in rows]
        found.changelog[partition] = [(offset, *row) for offset, row in changed if row is not None]


def without_last_state(found: Evidence) -> None:
    partition, rows = next(iter(found.changelog.items()))
    last = max(place for place, row in enumerate(rows) if row[1].startswith(b"s/"))
    key = rows[last][1]
    found.changelog[partition] = [row for row in rows if row[1] != key]


SPOILED: dict[str, tuple[str, Callable[[Evidence], object]]] = {
    "a doubled verdict": ("verdict doubled", lambda found: double(found.verdicts)),
    "a missing verdict": ("verdict missing", lambda found: drop(found.verdicts)),
    "verdicts out of order": ("verdicts out of order", lambda found: swap(found.verdicts, server_of)),
    "a falsified verdict": ("verdict falsified", lambda found: falsify(found.verdicts[7], "stage", 99)),
    "a verdict of nothing": (
        "verdict that must not be",
        lambda found: found.verdicts.append({**found.verdicts[0], "verdict_id": "x"}),
    ),
    "a doubled notification": ("notification doubled", lambda found: double(found.notifications)),
    "a missing notification": ("notification missing", lambda found: drop(found.notifications)),
    "notifications out of order": ("notifications out of order", lambda found: swap(found.notifications, server_of)),
    "a falsified notification": ("notification falsified", lambda found: falsify(found.notifications[3], "title", "x")),
    "a doubled audit record": ("audit record doubled", lambda found: double(found.audit)),
    "a missing audit record": ("audit record missing", lambda found: drop(found.audit)),
    "audit records out of order": (
        "audit records out of order",
        lambda found: swap(found.audit, lambda row: row["tenant_id"]),
    ),
    "a falsified audit record": ("audit record falsified", lambda found: falsify(found.audit[0], "issued_by", "x")),
    "a missing row": ("server row", lambda found: found.rows.pop()),
    "a doubled row": ("server rows of", lambda found: double(found.rows)),
    "rows out of order": ("server row", lambda found: swap(found.rows, lambda row: row[0])),
    "a falsified row": (
        "server row falsified",
        lambda found: found.rows.append((found.rows[0][0], {**(found.rows[0][1] or {}), "stage": 99})),
    ),
    "a doubled dead letter": ("dead letter doubled", lambda found: double(found.letters)),
    "a missing dead letter": ("dead letters:", lambda found: drop(found.letters)),
    "a dead letter of a good record": (
        "dead letters:",
        lambda found: found.letters.append(((found.letters[0][0][0], 0, 10**6), b"good")),
    ),
    "a record that went through although it is bad": (
        "dead letter missing",
        lambda found: found.letters.remove(next(letter for letter in found.letters if (letter[1] or b"")[:1] == b"{")),
    ),
    "a cut dead letter": (
        "dead letter that is not its record",
        lambda found: found.letters.append((found.letters.pop()[0], b"")),
    ),
    "a committed offset before the end": (
        "ends at",
        lambda found: found.committed.update({key: at - 1 for key, at in found.committed.items()}),
    ),
    "a marker before the end": (
        "ends at",
        lambda found: change_row(found, lambda key, value: (key, b"1" if key == MARKER else value)),
    ),
    "a lost state": ("is not the fold", without_last_state),
    "a lost due row": (
        "due row missing",
        lambda found: change_row(found, lambda key, value: None if key.startswith(b"d/") else (key, value)),
    ),
    "a due row of nothing": (
        "due row of nothing",
        lambda found: change_row(found, lambda key, value: (key, value or b"") if key[:2] == b"d/" else (key, value)),
    ),
    "a store that has a row less": ("is not the changelog", without_last_state),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", SPOILED)
def test_it_finds(left: Left, what: str) -> None:
    finding, spoil = SPOILED[what]
    assert any(finding in found for found in findings(left, spoil)), findings(left, spoil)


@pytest.mark.timeout(120)
def test_records_that_may_come_again_must_be_the_same_ones(left: Left) -> None:
    assert findings(left, lambda found: found.verdicts.extend(found.verdicts[:3]), again=True) == []

    def another(found: Evidence) -> None:
        found.verdicts.append({**found.verdicts[0], "stage": 99})

    assert any("falsified" in found for found in findings(left, another, again=True))


@pytest.mark.timeout(120)
def test_a_damaged_store_is_found(left: Left, tmp_path: Path) -> None:
    store = RocksDBStore(tmp_path / left.stores[0].name)
    partition = int(left.stores[0].name.rpartition("-")[2])
    rows = left.found.state(partition)
    store.write({**rows, POSITION: b"%d" % 10**9, b"s/tenant-1/x": b"y"})
    store.close()
    assert any(
        "is not the changelog" in found
        for found in compare(left.found, left.oracle, left.settings, [tmp_path / left.stores[0].name])
    )


@pytest.mark.timeout(120)
def test_as_a_program_it_reads_the_topics_with_read_committed(left: Left) -> None:
    verdict = left.found.verdicts[0]
    key = f"{verdict['tenant_id']}/{verdict['server']}".encode()
    topic = left.settings.topic(TOPICS["verdict"])
    value = AvroCodec("verdict", LocalRegistry()).encode(verdict)

    async def write_again(commits: bool) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=left.settings.bootstrap, transactional_id="forger")
        async with producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value, key=key, partition=kafka_partition(key, PARTITIONS))
            await (producer.commit_transaction() if commits else producer.abort_transaction())

    command = [sys.executable, "-m", "tests.chaos.verifier", str(left.plan_file)]
    asyncio.run(write_again(commits=False))
    sound = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert (sound.returncode, json.loads(sound.stdout)["findings"]) == (0, [])
    asyncio.run(write_again(commits=True))
    forged = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert forged.returncode == 1
    assert [found for found in json.loads(forged.stdout)["findings"] if found.startswith("verdict doubled")]


def test_a_clock_that_passed_no_timer_is_the_same_state_and_one_that_did_is_not() -> None:
    oracle = fold([Step(lines(FEED), lines(COMMANDS), None)], ("microsoft-2026-09",), PARTITIONS)
    key, state = next((key, state) for key, state in oracle.states.items() if oracle.due_of("server", key) < UNTIL)
    due = oracle.due_of("server", key)
    assert is_the_same(replace(state, clock_at=due - 1), state, due)
    assert not is_the_same(replace(state, clock_at=due), state, due)
    assert not is_the_same(replace(state, clock_at=state.clock_at - 1), state, due)
    assert not is_the_same(replace(state, clock_at=due - 1, connections=99), state, due)
