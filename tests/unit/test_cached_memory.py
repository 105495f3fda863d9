"""What a partition keeps in memory is counted in bytes, whatever its servers send."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from streams.domain.exchange.build import Build
from streams.domain.policy import ladder
from streams.domain.policy.ladder import Clock, ClockStop, schedule
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import MAX_JUDGEMENTS, Rulebook
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView
from streams.state.server_row import decode_state
from streams.testing import FakeRecord
from streams.worker.header_cache import LINE_BYTES
from streams.worker.processor import InputProcessor
from streams.worker.server_cache import SERVER_BYTES, SLACK_BYTES
from tests.support.partition import (
    CONNECTIONS,
    HEADER,
    RULEBOOK,
    START,
    TENANT,
    UNTIL,
    WIRES,
    Partition,
    connection,
    line_of,
)

pytestmark = pytest.mark.no_cover
SERVERS = 400
KINDS: dict[str, dict[str, Any]] = {
    "ordinary": {"message_id": "<CAF6sW1x@mail.example.com>", "note": ".example.com (192.0.2.1)"},
    "long": {"message_id": "x" * 900_000, "connector_id": "c" * 900, "note": " (" + "n" * 900 + ")"},
    "long lines": {"note": " (" + "n" * 8_000 + ")"},
    "wide": {"message_id": "m" * 900 + "\U0001f600" * 100, "note": "\U0001f600" + "n" * 1_900},
}


def rows_of(kind: str, servers: int, rounds: int = 1) -> list[dict[str, Any]]:
    fields = dict(KINDS[kind])
    note = fields.pop("note")
    return [
        connection(
            turn * servers + number, received=[line_of("15.1.2507.61", f"mx{number}.example.com", note)], **fields
        )
        for turn in range(rounds)
        for number in range(servers)
    ]


def fed(kind: str, servers: int, rounds: int = 1, cached: int = 10**6) -> Partition:
    partition = Partition(unit=1_000)
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, cached_servers=cached)
    partition.feed(rows_of(kind, servers, rounds))
    return partition


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounds", [1, 33])
def test_what_is_counted_is_no_less_than_what_it_takes(kind: str, rounds: int) -> None:
    rounds = rounds if kind == "ordinary" else min(rounds, 3)
    fed(kind, SERVERS, rounds)  # fills what the process has only once
    gc.collect()
    tracemalloc.start()
    partition = fed(kind, SERVERS, rounds)
    partition.empty_unit()
    partition.store.wipe()
    partition.outputs.clear()
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counted = partition.processor.cached_bytes
    assert taken <= counted + 100_000
    assert counted <= 4 * taken


def test_as_many_ordinary_servers_fit_as_are_asked_for() -> None:
    partition = fed("ordinary", SERVERS, 33, cached=SERVERS)
    assert len(partition.processor._repository.cache.rows) == SERVERS


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_stays_within_its_bytes(kind: str) -> None:
    cached = 50
    partition = fed(kind, SERVERS, 2, cached)
    assert 0 < partition.processor.cached_bytes <= cached * (SERVER_BYTES + LINE_BYTES) + LINE_BYTES * 4
    states = [decode_state(value)[0] for _, value in partition.store.scan(b"s/", b"s0")]
    assert [state.connections for state in states] == [2] * SERVERS


def test_a_unit_ends_before_it_takes_in_more_than_its_share() -> None:
    partition = fed("long lines", 4_000, cached=1)
    # Duplicates: each loads its row, and changes nothing.
    values = [CONNECTIONS.encode(row) for row in rows_of("long lines", 4_000)]
    records = [FakeRecord(WIRES.connections_topic, at, 0, TENANT.encode(), value) for at, value in enumerate(values)]
    view = StateView(partition.store)
    partition.processor.begin(view)
    done = partition.processor.on_records(view, records, None)
    assert 0 < done < len(records)
    assert view.changes == {}
    assert partition.processor.cached_bytes <= SERVER_BYTES + SLACK_BYTES + 100_000
    partition.processor.finish(view)
    assert partition.processor.cached_bytes <= SERVER_BYTES + 4 * LINE_BYTES


def test_judgements_of_builds_that_senders_make_up_are_bounded() -> None:
    rulebook = Rulebook(RULEBOOK.policies, RULEBOOK.catalogue)
    tracemalloc.start()
    peak = 0
    for number in range(2 * MAX_JUDGEMENTS):
        rulebook.judge(Build(15, 1, 2507, number), START, ConnectorType.ON_PREMISES, "t1")
        if number % 1_000 == 0:
            peak = max(peak, tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert peak <= MAX_JUDGEMENTS * 2_500


def test_schedules_with_many_standstills_are_not_kept() -> None:
    stages = RULEBOOK.policies[-1].ladder
    tracemalloc.start()
    for number in range(12_000):
        many = tuple(ClockStop(START + day * DAY_MS, START + day * DAY_MS + number + 1) for day in range(number % 60))
        schedule(stages, Clock(0, START), many)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= 4_000 * 5_000
    assert ladder.MAX_CACHED_SPANS < 60
