"""The worker's processor, which only counts where it can, against the fold of the pure core."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.detection import Origin, detect, detection_of
from streams.domain.exchange.received import parse_received
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import StateView
from streams.engine.ports import StoreError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.state.keys import parse_server_key, parse_timer_key, server_key
from streams.state.server_row import ServerRow, decode_state, encode_state
from streams.testing import FakeRecord, MemoryStore
from streams.wire.fast_connection import decode_fast
from streams.wire.records import connection_of, to_record
from streams.worker.header_cache import HeaderCache
from streams.worker.processor import InputProcessor
from tests.support.cached_headers import run_in
from tests.support.changing_policies import CHANGE, POLICIES, REFUSED, RULEBOOKS, STEPS
from tests.support.four_servers import CODEC, HEADER, SETTINGS, START, WIRES, connection, feed
from tests.support.machine_feed import cloud_feed, machine_feed, mixed_feed

LINE = "from a by mx.example.com with Microsoft SMTP Server id 15.1.2507.39; Thu, 1 Oct 2026 20:00:00 +0000"


def run(processor: InputProcessor, store: MemoryStore, records: list[FakeRecord], seed: int) -> Iterable[Any]:
    """What a worker does, with units of random size; gives the outputs."""
    chance = random.Random(seed)
    while records:
        view = StateView(store)
        processor.begin(view)
        processor.on_tick(view, 0, 100)
        size = chance.randrange(1, 40)
        assert processor.on_records(view, records[:size], None) == len(records[:size])
        processor.finish(view)
        store.write(view.changes)
        records = records[size:]
        yield from view.outputs
    while True:
        view = StateView(store)
        processor.begin(view)
        moment = processor.tick_moment(True)
        assert moment is not None
        has_more = processor.on_tick(view, moment, 3)
        processor.finish(view)
        store.write(view.changes)
        yield from view.outputs
        if not has_more:
            return


# --- counting and deciding ---


def assert_counted_is_decided(rows: list[dict[str, Any]], rulebook: Rulebook, cached: int, seed: int) -> int:
    """Both ways give the same records and states; gives how many of the rows were decided."""
    chance = random.Random(seed)
    rows = [row | {"refused_before": chance.choice(REFUSED)} for row in rows]
    simulation = Simulation(rulebook)
    for row in rows:
        simulation.feed(connection_of(row))
    until = rows[-1]["observed_at"] + 40 * DAY_MS
    simulation.advance(until)
    processor = InputProcessor(lambda: rulebook, WIRES, HEADER, until, cached_servers=cached)
    topic, store = WIRES.connections_topic, MemoryStore()
    records = [FakeRecord(topic, at, 0, row["tenant_id"].encode(), CODEC.encode(row)) for at, row in enumerate(rows)]
    outputs = list(run(processor, store, records, seed))

    def values(topic: str, codec: Any) -> list[dict[str, Any]]:
        return [codec.decode(output.value) for output in outputs if output.topic == topic]

    results = simulation.results
    verdicts = sorted(values(WIRES.verdicts_topic, WIRES.verdicts), key=lambda row: row["verdict_id"])
    assert verdicts == sorted(map(to_record, results.verdicts), key=lambda row: row["verdict_id"])
    notes = sorted(values(WIRES.notifications_topic, WIRES.notifications), key=lambda row: row["notification_id"])
    assert notes == sorted(map(to_record, results.notifications), key=lambda row: row["notification_id"])
    last = {(row["tenant_id"], row["server"]): row for row in values(WIRES.servers_topic, WIRES.servers)}
    assert last == {key: to_record(row) for key, row in results.servers.items()}
    states = {key: decode_state(value)[0] for key, value in store.scan(b"s/", b"s0")}
    assert states == {server_key(key): state for key, state in simulation.states.items()}
    return processor.decided


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize(
    "make",
    [feed, machine_feed, mixed_feed, cloud_feed],
    ids=["any builds", "steady machines", "mixed machines", "cloud builds"],
)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from(STEPS), cached=st.sampled_from((1, 3, 1000)))
def test_counting_only_gives_what_deciding_gives(
    make: Callable[..., list[dict[str, Any]]], policies: str, seed: int, step: int, cached: int
) -> None:
    rows = make(seed, 120, step, start=CHANGE - 30 * step)
    assert_counted_is_decided(rows, RULEBOOKS[policies], cached, seed)


def test_all_but_the_first_connection_of_a_steady_server_are_counted_and_the_due_index_follows() -> None:
    servers = {(row["tenant_id"], row["received"][0][:30]): row for row in feed(1, 40, 1, swing=0)}
    steady = [row | {"connector_type": "ON_PREMISES"} for row in servers.values()]
    rows = [
        steady[number % len(steady)] | {"event_id": f"e{number}", "observed_at": START + number * 60_000}
        for number in range(50)
    ]
    processor, store = InputProcessor(lambda: RULEBOOKS["plain"], WIRES, HEADER, START + DAY_MS), MemoryStore()
    for number, row in enumerate(rows):
        value = CODEC.encode(row)
        view = StateView(store)
        processor.begin(view)
        processor.on_tick(view, 0, 100)
        processor.on_records(
            view, [FakeRecord(WIRES.connections_topic, number, 0, row["tenant_id"].encode(), value)], None
        )
        processor.finish(view)
        store.write(view.changes)
        held = {parse_server_key(key): decode_state(value)[1] for key, value in store.scan(b"s/", b"s0")}
        assert {key: due for due, key in map(parse_timer_key, dict(store.scan(b"d/", b"d0")))} == held
    assert processor.decided == len(held)
    assert all(decode_state(value)[0].is_report_due for _, value in store.scan(b"s/", b"s0"))


def test_a_late_connection_after_the_hour_in_which_its_report_was_to_come_is_decided() -> None:
    policy = read_policy("microsoft-2026-09")
    begin = START // DAY_MS * DAY_MS + 14 * HOUR_MS
    silent_at = begin + policy.stale_after_days * DAY_MS
    last_seen_at = silent_at - 2 * HOUR_MS
    server, now = feed(1, 1, 1, swing=0)[0], begin
    processor, store = InputProcessor(lambda: RULEBOOKS["plain"], WIRES, HEADER, now=lambda: now), MemoryStore()

    def reports(moments: list[int], tick: int) -> list[tuple[int, int]]:
        view = StateView(store)
        processor.begin(view)
        while processor.on_tick(view, tick, 100):
            pass
        rows = [server | {"event_id": f"e{at}", "observed_at": at} for at in moments]
        topic, key = WIRES.connections_topic, server["tenant_id"].encode()
        records = [FakeRecord(topic, at, at, key, CODEC.encode(row)) for at, row in enumerate(rows)]
        assert processor.on_records(view, records, None) == len(records)
        processor.finish(view)
        store.write(view.changes)
        found = [
            WIRES.servers.decode(output.value or b"") for output in view.outputs if output.topic == WIRES.servers_topic
        ]
        return [(row["connections"], row["reported_at"] - silent_at) for row in found]

    reports([], 0)
    for now in [*range(begin, last_seen_at, DAY_MS), last_seen_at]:
        reports([now], now)
    now = silent_at
    count = len(range(begin, last_seen_at, DAY_MS)) + 1
    # The due index still holds the server under the moment when it would have been silent, had it not connected again.
    assert reports([], now) == []
    late = [last_seen_at + HOUR_MS // 2, last_seen_at + HOUR_MS * 2 // 3]
    assert reports(late, 0) == [(count + 1, 0)]
    now += 5 * HOUR_MS
    assert reports([], now) == [(count + 2, HOUR_MS)]


@pytest.mark.parametrize("policies", POLICIES)
def test_most_connections_are_only_counted(policies: str) -> None:
    rows = feed(1, 2000, 2000, swing=0, start=CHANGE - 1_000_000)
    decided = assert_counted_is_decided(rows, RULEBOOKS[policies], 1000, 1)
    servers = {(row["tenant_id"], row["received"][0].split()[3]) for row in rows}
    assert len(servers) <= decided < len(rows) / 4


@pytest.mark.parametrize("policies", POLICIES)
def test_connections_of_steady_machines_are_counted_too(policies: str) -> None:
    decided = [
        assert_counted_is_decided(machine_feed(seed, 400, 4_000, start=CHANGE - 800_000), RULEBOOKS[policies], 1000, 1)
        for seed in range(5)
    ]
    assert 0 < min(decided) < 250
    assert sum(decided) < 5 * 300


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("make", [mixed_feed, cloud_feed], ids=["mixed machines", "cloud builds"])
def test_connections_that_decide_nothing_of_an_episode_are_counted_too(
    make: Callable[..., list[dict[str, Any]]], policies: str
) -> None:
    decided = [
        assert_counted_is_decided(make(seed, 400, 4_000, start=CHANGE - 800_000), RULEBOOKS[policies], cached, 1)
        for seed in range(3)
        for cached in (1, 1000)
    ]
    assert 0 < sum(decided) < 2 * 770


class _Refusing:
    """A codec that refuses what it is given once it `is_on`."""

    def __init__(self, codec: Any) -> None:
        self.codec, self.is_on = codec, False

    def encode(self, record: dict[str, Any] | tuple[Any, ...]) -> bytes:
        if self.is_on:
            raise ValueError("refused")
        return bytes(self.codec.encode(record))

    def decode(self, value: bytes | None) -> dict[str, Any]:
        return dict(self.codec.decode(value))


def test_a_command_that_fails_takes_back_nothing_that_was_counted_before_it() -> None:
    servers = _Refusing(WIRES.servers)
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    row = connection(random.Random(1), 0, START, 0.1) | {"received": [LINE], "connector_type": "ON_PREMISES"}
    rows = [row | {"event_id": f"e{number}", "observed_at": START + number} for number in range(5)]
    command = {
        "command_id": "c1",
        "tenant_id": row["tenant_id"],
        "kind": "PAUSE_SERVER",
        "server": "mx.example.com",
        "issued_at": START + 10,
        "issued_by": "admin",
        "role": "TENANT_ADMIN",
        "days": 10,
    }
    key = row["tenant_id"].encode()
    connections = [FakeRecord(WIRES.connections_topic, at, 0, key, CODEC.encode(row)) for at, row in enumerate(rows)]
    commands = [FakeRecord(SETTINGS.topic("enforcement.commands.v1"), 0, 0, key, WIRES.commands.encode(command))]
    processor = InputProcessor(lambda: rulebook, replace(WIRES, servers=servers), HEADER, START + DAY_MS)
    view = StateView(MemoryStore())
    processor.begin(view)
    processor.on_tick(view, 0, 100)
    processor.on_records(view, connections, None)
    servers.is_on = True
    processor.on_records(view, commands, None)
    processor.finish(view)
    assert view.rejected == 1
    (state,) = [decode_state(value)[0] for key, value in view.changes.items() if value and key.startswith(b"s/")]
    assert state.connections == len(rows)


TEXT = st.text(st.characters(max_codepoint=300), max_size=90)
RECORDS = st.fixed_dictionaries(
    {
        "observed_at": st.integers(-(2**63), 2**63 - 1) | st.integers(2**39, 2**41),
        "connector_type": st.sampled_from([kind.value for kind in ConnectorType]),
        "tenant_id": TEXT,
        "received": st.lists(TEXT, max_size=80),
        "event_id": TEXT,
        "connector_id": TEXT,
        "source_ip": TEXT,
        "helo": TEXT,
        "tls_subject": st.none() | TEXT,
        "message_id": st.none() | TEXT,
        "outcome": st.sampled_from((None, "ACCEPTED", "DEFERRED", "REJECTED", "UNKNOWN")),
        "recipients": st.integers(-(2**31), 2**31 - 1) | st.integers(0, 60),
        "refused_before": st.integers(-(2**31), 2**31 - 1) | st.integers(0, 60),
    }
)


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.data())
def test_what_is_projected_is_what_the_codec_reads(record: dict[str, Any], data: st.DataObject) -> None:
    value = CODEC.encode(record)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        value = value[:at] + data.draw(st.binary(max_size=2)) + value[at + 1 :]
    found = decode_fast(value, HEADER)
    if found is not None:
        read = CODEC.decode(value)
        assert found.observed_at == read["observed_at"]
        assert [line.decode() for line in found.received] == read["received"]
        assert found.connection() == connection_of(read)
        for name in ("tenant_id", "event_id", "connector_id", "source_ip", "helo"):
            assert getattr(found, name).decode() == read[name]
        assert list(ConnectorType)[found.connector] == read["connector_type"]
        outcomes = [None, "ACCEPTED", "DEFERRED", "REJECTED", "UNKNOWN"]
        assert outcomes[found.outcome + 1] == read["outcome"]
        assert read["recipients"] >= 0
        assert read["refused_before"] >= 0


def test_an_ordinary_connection_is_projected() -> None:
    rows = feed(3, 300, 1000)
    assert all(decode_fast(CODEC.encode(row), HEADER) is not None for row in rows)


PARTS = st.sampled_from(
    (
        *("from a", " by mx1.example.com", " by mx2.example.com", " Mon, 1 Jun 2026", "\r\n\t", ";", "(", ")"),
        *(" with Microsoft SMTP Server", " with mapi", " with ESMTP", " with Microsoft SMTPSVC"),
        *(" id 15.1.2507.39", " id 15.01.2507.061", " id 15.1.2507.390", " id 115.1.2507.39", " ID 15.1.2507.39"),
        *(
            " [192.0.2.7]",
            " EX01.example.com",
            ".1",
            "15.1.2507.61",
            '"',
            "<",
            ">",
            "(6.6.6.6)",
            "from mx1.example.com",
        ),
    )
)
NAMED = ("mx1.example.com", "MX1.example.com", "mx1.example.com.", "mx2.example.com", "mx1", "by", "[10.0.0.5]")
SHOWN = ("", " (10.0.0.5)", " ([fe80::1%7])", " (6.6.6.6)", " (::1)", " (2001:db8::1)", " (10.0.0.5) (6.6.6.6)", " (x)")
STAMPS = st.tuples(
    *(st.sampled_from(NAMED), st.sampled_from(SHOWN), st.sampled_from(NAMED), st.sampled_from(SHOWN)),
    st.sampled_from(("Microsoft SMTP Server", "mapi", "ESMTP", "Microsoft SMTPSVC")),
    st.sampled_from(("15.1.2507.39", "15.01.2507.061", "15.1.2507", "15.1.2508.1", "99.99.9999.9", "4ABC")),
    st.sampled_from(("", " via Mailbox Transport", ' for <" by mx1.example.com with mapi id 9.9.9.9 "@x>')),
    st.sampled_from(("; Mon, 1 Jun 2026", "; Mon, 1 Dec 2025 10:00:00 +0000", "", ';"', "; (x)")),
).map(lambda parts: "from {}{} by {}{} with {} id {}{}{}".format(*parts))
ANY_LINE = STAMPS | st.lists(PARTS, max_size=12).map("".join)
LINES = st.lists(ANY_LINE, min_size=1, max_size=4) | st.lists(STAMPS, min_size=2, max_size=6)


@settings(max_examples=500, deadline=None)
@given(LINES, LINES)
def test_cached_lines_give_what_detection_gives(first: list[str], second: list[str]) -> None:
    cache = HeaderCache(50)
    for lines in (first, second, first, [line + " (x; y) z" for line in first]):
        run = run_in(cache, lines)
        if run is not None:
            seen = detect(lines, "helo", "192.0.2.1")
            assert detection_of(run, lines) == seen
            assert seen.origin is (Origin.EXCHANGE if run.build is not None else Origin.GATEWAY)
            assert parse_received(lines[0]).by_host == seen.server


def test_a_row_keeps_the_whole_state() -> None:
    simulation = Simulation(Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue()))
    for row in feed(5, 60, DAY_MS):
        simulation.feed(connection_of(row))
    for state in simulation.states.values():
        assert decode_state(encode_state(state, 7)) == (state, 7)
        stored = ServerRow(encode_state(state, None))
        assert stored.encode() == encode_state(stored.to_state(), None)


@pytest.mark.parametrize(
    "damage", [lambda value: value[:40], lambda value: value[:-9], lambda value: b"\x07" + value[1:]]
)
def test_a_damaged_state_stops_the_worker_and_is_nobodys_dead_letter(damage: Any) -> None:
    rows = feed(7, 3, DAY_MS)
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    simulation = Simulation(rulebook)
    for row in rows:
        simulation.feed(connection_of(row))
    store = MemoryStore()
    store.write({server_key(key): damage(encode_state(state, None)) for key, state in simulation.states.items()})
    processor = InputProcessor(lambda: rulebook, WIRES, HEADER, rows[-1]["observed_at"])
    view = StateView(store)
    processor.begin(view)
    record = FakeRecord(WIRES.connections_topic, 0, 0, rows[0]["tenant_id"].encode(), CODEC.encode(rows[0]))
    with pytest.raises(StoreError, match="state"):
        processor.on_records(view, [record], None)
