"""The race's feed, oracle and figures: a wrong engine must be seen."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import build_parser
from benchmarks.check import check_totals, differences, peer_state
from benchmarks.engines import ENGINES, Result, chosen
from benchmarks.environment import MissingToolError, java_class_path
from benchmarks.feed import SPAN_MS, Feed, Fleet, connections
from benchmarks.known import KnownServers
from benchmarks.measure import Mark, Sample, cpu_seconds, interpolate
from benchmarks.oracle import peer_outcome, product_outcome
from benchmarks.peers import job
from benchmarks.race import Figures, fill
from benchmarks.report import row_of, table
from benchmarks.servers import Plan, ratio_of, wanted_of
from streams.domain.exchange.detection import detect
from streams.domain.server.connection import check_connection
from streams.domain.time import HOUR_MS
from streams.state.keys import server_key
from streams.state.server_row import decode_state
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_of
from streams.wire.registry import LocalRegistry

END_MS = 1_790_000_000_000
FEED = Feed(3_000, 200, END_MS)


def test_the_same_seed_gives_the_same_feed_and_a_shorter_one_is_its_beginning() -> None:
    assert list(connections(FEED)) == list(connections(FEED))
    assert list(connections(FEED.beginning(500))) == list(connections(FEED))[:500]


def test_every_connection_is_valid_shows_the_build_it_says_and_lies_before_the_end() -> None:
    for build, record in connections(FEED):
        connection = connection_of(record)
        check_connection(connection, record["tenant_id"].encode(), END_MS)
        found = detect(connection.received, connection.helo, connection.source_ip)
        assert found.server == record["helo"]
        assert found.build == (None if build is None else build)


@pytest.mark.parametrize("count", [1_000, 400_000, 2_000_000])
def test_no_feed_is_long_enough_for_a_row_to_come_due(count: int) -> None:
    feed = Feed(count, 10, END_MS)
    assert count * feed.step_ms <= SPAN_MS < HOUR_MS


def test_the_product_folds_the_same_in_shares_of_the_tenants() -> None:
    whole, parts = product_outcome(FEED), product_outcome(FEED, 0, 2)
    parts.add(product_outcome(FEED, 1, 2))
    assert parts == whole
    assert len(whole.states) == 200
    assert whole.verdicts


def test_the_job_of_the_peers_gives_what_the_generator_knows() -> None:
    codec = AvroCodec("inbound_connection", LocalRegistry())
    states: dict[Any, Any] = {}
    verdicts: dict[Any, Any] = {}
    for _, record in connections(FEED):
        connection = job.decode(codec.encode(record))
        key = job.key_of(connection)
        states[key], has_changed = job.apply(states.get(key), connection)
        if has_changed:
            verdict = job.decode_verdict(job.encode_verdict(job.verdict_of(connection, states[key])))
            verdicts.setdefault(key, []).append((verdict["build"], verdict["below_floor"]))
    wanted = peer_outcome(FEED)
    assert {key: (state[2], state[3], state[4]) for key, state in states.items()} == wanted.states
    assert verdicts == wanted.verdicts
    assert check_totals(f"x\nTOTALS {wanted.verdict_count} 3000\n", 3_000, wanted) == []
    assert check_totals(f"TOTALS {wanted.verdict_count + 1} 3000", 3_000, wanted)
    assert check_totals("", 3_000, wanted)


def test_the_check_names_what_is_missing_too_much_or_wrong() -> None:
    wanted = {"a": 1, "b": 2, "c": 3}
    assert differences("states", dict(wanted), wanted) == []
    assert differences("states", {"a": 1, "b": 9, "d": 4}, wanted) == [
        "1 of 3 states missing",
        "1 of 3 states too many",
        "1 of 3 states wrong",
    ]


def test_the_states_of_every_peer_are_read_alike() -> None:
    packed = job.STATE.pack(1, 2, 3, 1) + b"15.1.2507.9"
    text = json.dumps([1, 2, 3, "15.1.2507.9", True]).encode()
    wanted = ("t/ex", (3, "15.1.2507.9", True))
    assert peer_state(Result.STRUCT, b"t/ex", packed) == wanted
    assert peer_state(Result.FAUST, b'"t/ex"', text) == wanted
    assert peer_state(Result.QUIX, b't|"ex"', text) == wanted
    assert peer_state(Result.QUIX, b"t|__own", b"7") is None


def samples(*rows: tuple[float, int, float]) -> list[Sample]:
    return [Sample(at, events, engine, at / 10, at, 0.0) for at, events, engine in rows]


def test_figures_of_a_worker_begin_at_its_first_mark() -> None:
    figures = Figures("worker", 1, 1_100)
    rows = samples((0.0, 0, 0.0), (1.0, 100, 5.0), (2.0, 600, 6.0), (3.0, 1_100, 6.5))
    fill(figures, rows, [Mark(row.at, row.events, row.engine) for row in rows[1:]], [])
    assert figures.events_per_second == 500
    assert figures.engine_us == pytest.approx(1_500)
    assert figures.steady_us == pytest.approx(1_000)
    assert figures.broker_us == pytest.approx(200)
    assert figures.first_us is None


def test_figures_of_a_peer_begin_at_its_first_event_and_end_at_its_last_commit() -> None:
    figures = Figures("peer", 1, 3_000)
    marks = [Mark(1.0, 0, 2.0), Mark(11.0, 1_000, 12.0), Mark(21.0, 2_000, 17.0), Mark(31.0, 3_000, 22.0)]
    fill(figures, samples((0.0, 0, 0.0), (31.0, 0, 22.0), (32.0, 3_000, 22.5)), marks, [])
    assert figures.seconds == 31
    assert figures.engine_us == pytest.approx(20.5 / 3_000 * 1e6, abs=0.01)
    assert (figures.first_us, figures.first_events_per_second) == (10_000, 100)
    assert (figures.steady_us, figures.steady_events_per_second) == (5_000, 100)


def test_an_engine_that_says_when_it_ended_is_not_charged_for_the_wait_until_it_is_seen() -> None:
    figures = Figures("floor", 1, 1_000)
    marks = [Mark(1.0, 0, 1.0), Mark(2.0, 1_000, 2.0)]
    fill(figures, samples((0.9, 0, 0.9), (2.1, 0, 2.4)), marks, [Mark(2.0, 1_000, 2.0)])
    assert (figures.seconds, figures.engine_us) == (1.0, 1_000)


def test_a_run_that_was_over_at_once_has_no_figures() -> None:
    rows = samples((0.0, 0, 0.0), (1.0, 100, 1.0))
    for marks in ([], [Mark(1.0, 100, 1.0)]):
        with pytest.raises(RuntimeError, match="too short"):
            fill(Figures("worker", 1, 100), rows, marks, [])


def test_a_wrong_engine_is_shown_as_wrong_and_a_failed_one_as_failed() -> None:
    good = Figures("a", 1, 10, wrong=[], events_per_second=100, engine_us=5.0)
    assert row_of("a", [good])[1] == "equal"
    assert row_of("a", [good, replace(good, round=2, wrong=["1 of 3 states wrong"])])[1] == "WRONG: 1 of 3 states wrong"
    failed = row_of("a", [replace(good, failure="ended with | exit code 1")])
    assert failed[1] == "FAILED: ended with / exit code 1"
    assert len(failed) == len(row_of("a", [good]))
    assert table([good]).count("\n") == 3


def test_medians_are_over_undisturbed_runs() -> None:
    quiet = Figures("a", 1, 10, wrong=[], events_per_second=100, engine_us=5.0)
    loud = replace(quiet, round=2, events_per_second=10, engine_us=50.0, others_share=0.5)
    row = row_of("a", [quiet, loud, replace(quiet, round=3, engine_us=7.0)])
    assert row[3] == "6.0"
    assert row[-1] == "3, 1"


def test_engines_are_chosen_by_parts_of_their_names() -> None:
    assert chosen("", "") == list(ENGINES)
    assert {engine.name for engine in chosen("shipped,bytewax", "2 proc")} == {"shipped worker, 1 process", "Bytewax"}
    with pytest.raises(ValueError, match="--only: 'flink': must be part of an engine's name"):
        chosen("flink", "")


@pytest.mark.parametrize("text", ["0", "-3", "many"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--events", text])


def test_cpu_time_of_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(ProcessLookupError):
        cpu_seconds(2**22 + 1)


def test_values_between_points_lie_on_the_line() -> None:
    assert [interpolate([1, 3], [10, 30], key) for key in (0, 1, 2, 3, 9)] == [10, 10, 20, 30, 30]


def test_a_missing_jdk_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mvn").write_text("#!/bin/sh\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"javac is missing.*apt-get install .*--skip 'Kafka Streams'"):
        java_class_path()


def test_a_feed_in_parts_goes_on_with_its_servers_and_comes_no_later_than_the_whole() -> None:
    fleet = Fleet(200)
    parts = [Feed(500, 200, END_MS, 1_000, first) for first in (0, 500)]
    joined = [row for part in parts for row in connections(part, fleet)]
    assert joined == list(connections(Feed(1_000, 200, END_MS)))


def test_most_of_a_skewed_feed_comes_from_few_servers() -> None:
    fleet = Fleet(1_000)
    seen = Counter(row["helo"] for _, row in connections(Feed(5_000, 1_000, END_MS, is_skewed=True), fleet))
    assert sum(seen[server.host] for server in fleet.servers[:100]) > 3_000
    assert [fleet.number_of(server.tenant_id, server.host) for server in fleet.servers] == list(range(1_000))


def test_a_known_server_has_the_state_that_its_own_connections_give() -> None:
    fleet = Fleet(300)
    known = KnownServers(fleet, END_MS, 3)
    rows = {key: value for _, key, value in known.changelog_rows() if key is not None and value is not None}
    assert len([key for key in rows if key.startswith(b"s/")]) == 300
    for number in (0, 57, 299):
        server = fleet.servers[number]
        state, due = known[number]
        assert (state.tenant_id, state.server, state.connections) == (server.tenant_id, server.host, 3)
        assert state.build == (None if server.is_gateway else fleet.builds[number])
        assert state.evidence is not None
        assert server.host in str(state.evidence.received)
        assert decode_state(rows[server_key(state.key)]) == (state, due)
        # What it connects next is only counted, and no timer comes up meanwhile.
        assert due is not None
        assert due > END_MS + 40 * 60_000


def test_the_fold_over_known_servers_looks_only_at_those_that_connect() -> None:
    plan = Plan(300, 40, 1, ("uniform", "skewed"), END_MS)
    whole, parts = wanted_of(plan), wanted_of(plan, 0, 2)
    parts.add(wanted_of(plan, 1, 2))
    assert parts == whole
    fleet = Fleet(300)
    assert whole.states.keys() == {
        f"{row['tenant_id']}/{row['helo']}" for feed in plan.parts() for _, row in connections(feed, fleet)
    }


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    found = [
        {"load": "uniform", "round": number, "servers": servers, "engine_us": cost}
        for number, servers, cost in (
            (1, 10, 20.0),
            (1, 99, 30.0),
            (2, 10, 10.0),
            (2, 99, 40.0),
            (3, 10, 10.0),
            (3, 99, 20.0),
        )
    ]
    assert ratio_of(found, "uniform") == 2.0
