"""Bounds to the unit: what holds on one side of each, and not one millisecond, or one event, further."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from streams.domain.outputs.notification import NotificationKind
from streams.domain.policy.ladder import Clock, ClockStop, elapsed_at, wall_time_of
from streams.domain.policy.policy import CriticalPatches
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.commands import AdminCommand
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.engine.partition.view import StateView
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from streams.state.server_row import ServerRow, decode_state, encode_state
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import parse_moment, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels
from tests.support.commands import pause
from tests.support.episodes import DETECTED, GOOD, OLD, POLICY, connection, row, run

NOW = parse_moment("now", "2026-10-01T12:00:00Z")
SETTINGS, REGISTRY = Settings(), LocalRegistry()
WIRES, HEADER = record_channels(SETTINGS), fast_headers(REGISTRY)
CONNECTIONS = AvroCodec("inbound_connection", REGISTRY)


class Worker:
    """A processor over a store of its own; `now` is its wall clock, None in a replay to `until`."""

    def __init__(self, now: int | None = None, until: int | None = None, rulebook: Rulebook | None = None) -> None:
        rulebook = rulebook or Rulebook((POLICY,), shipped_catalogue())
        self.now = now or 0
        self.processor = InputProcessor(lambda: rulebook, WIRES, HEADER, until, now=lambda: self.now)
        self.store = MemoryStore()

    def apply(self, *records: InboundConnection | AdminCommand, tick: int = 0) -> StateView:
        """One unit of work for each record; gives the view of the last one."""
        view = StateView(self.store)
        for record in records:
            view = StateView(self.store)
            self.processor.begin(view)
            self.processor.on_tick(view, tick, 100)
            key = record.tenant_id.encode()
            if isinstance(record, InboundConnection):
                given = FakeRecord(WIRES.connections_topic, 0, 0, key, CONNECTIONS.encode(to_record(record)))
            else:
                topic = SETTINGS.topic("enforcement.commands.v1")
                given = FakeRecord(topic, 0, 0, key, WIRES.commands.encode(to_record(record)))
            assert self.processor.on_records(view, [given], None) == 1
            self.processor.finish(view)
            self.store.write(view.changes)
        return view

    def tick(self, moment: int) -> StateView:
        """A unit of work in which only time passes."""
        view = StateView(self.store)
        self.processor.begin(view)
        assert not self.processor.on_tick(view, moment, 100)
        self.processor.finish(view)
        self.store.write(view.changes)
        return view

    def decides(self, record: InboundConnection) -> bool:
        """Apply a record; gives whether it was decided, not only counted."""
        before = self.processor.decided
        assert not self.apply(record).rejected
        return self.processor.decided > before

    @property
    def state(self) -> ServerEnforcement:
        """The state of the only server."""
        ((_, value),) = self.store.scan(b"s/", b"s0")
        return decode_state(value)[0]


# --- 32 remembered events ---


def test_the_32nd_event_back_is_still_remembered_and_the_33rd_is_not() -> None:
    events = [connection(DETECTED + number) for number in range(40)]
    for back, counted in ((32, 40), (33, 41)):
        (state,) = run(*events, events[-back]).states.values()
        assert state.connections == counted


@pytest.mark.parametrize(("back", "counted"), [(32, 40), (33, 41)])
def test_a_worker_that_only_counts_remembers_as_many(back: int, counted: int) -> None:
    events = [connection(NOW + number, GOOD) for number in range(40)]
    worker = Worker(until=NOW + DAY_MS)
    worker.apply(*events)
    assert worker.processor.decided == 1
    # A duplicate is left to the decision; what is taken for a new one is only counted.
    assert worker.decides(events[-back]) is (counted == 40)
    assert worker.state.connections == counted


# --- five minutes ---


@pytest.mark.parametrize("is_first", [True, False], ids=["decided", "counted"])
def test_a_connection_may_be_five_minutes_ahead_of_the_clock_and_no_more(is_first: bool) -> None:
    worker = Worker(NOW)
    if not is_first:
        worker.apply(*(connection(NOW - number, GOOD) for number in (3, 2, 1)))
        assert not worker.decides(connection(NOW, GOOD))
    last = connection(NOW + 5 * MINUTE_MS, GOOD)
    assert worker.decides(last) is is_first
    assert worker.state.last_seen_at == NOW + 300_000
    before = worker.state
    view = worker.apply(connection(NOW + 5 * MINUTE_MS + 1, GOOD))
    assert view.rejected == 1
    assert [dict(output.headers)["error"] for output in view.outputs] == [
        f"MalformedError: observed_at: {NOW + 300_001}: more than 5 minutes ahead of the clock ({NOW})".encode()
    ]
    assert worker.state == before
    worker.now += 1
    assert not worker.apply(connection(NOW + 5 * MINUTE_MS + 1, GOOD)).rejected


def test_a_command_may_be_five_minutes_ahead_of_the_clock_and_no_more() -> None:
    worker = Worker(NOW)
    assert not worker.apply(pause(NOW + 300_000, 1)).rejected
    assert worker.apply(pause(NOW + 300_001, 1)).rejected == 1


def test_the_clock_of_a_backlog_is_five_minutes_behind_its_stream() -> None:
    worker = Worker(NOW)
    assert worker.processor.tick_moment(False) == 0
    worker.apply(connection(NOW - HOUR_MS), connection(NOW - DAY_MS))
    assert worker.processor.tick_moment(False) == NOW - HOUR_MS - 300_000
    assert worker.processor.tick_moment(True) == NOW


def test_a_timer_fires_at_its_moment_and_not_before() -> None:
    worker = Worker(NOW)
    worker.apply(connection(NOW))
    due = NOW + 23 * DAY_MS
    assert not worker.tick(due - 1).outputs
    (told,) = worker.tick(due).outputs
    assert WIRES.notifications.decode(told.value)["kind"] == "STAGE_UPCOMING"


# --- the ladder's clock ---


@pytest.mark.parametrize(
    ("elapsed", "moment"),
    [(9, 9), (10, 10), (11, 21), (14, 24), (15, 25), (16, 31)],
)
def test_what_is_due_exactly_when_a_standstill_begins_is_due_then(elapsed: int, moment: int) -> None:
    """The second one begins at the very moment to which the first one puts off what takes 15."""
    assert wall_time_of(Clock(0, 0), elapsed, (ClockStop(10, 20), ClockStop(25, 30))) == moment


@pytest.mark.parametrize(("elapsed", "moment"), [(7, 10), (8, 21), (9, 22)])
def test_a_clock_that_is_set_when_a_standstill_begins_stands_until_its_end(elapsed: int, moment: int) -> None:
    assert wall_time_of(Clock(7, 10), elapsed, (ClockStop(10, 20),)) == moment


@pytest.mark.parametrize(("elapsed", "moment"), [(7, 20), (8, 21)])
def test_a_clock_that_is_set_when_a_standstill_ends_runs(elapsed: int, moment: int) -> None:
    assert wall_time_of(Clock(7, 20), elapsed, (ClockStop(10, 20),)) == moment


def test_no_time_has_passed_before_the_clock_was_set() -> None:
    assert [elapsed_at(Clock(5, 10), at) for at in (9, 10, 11)] == [5, 5, 6]


def test_a_moment_is_the_first_at_which_so_much_time_has_passed() -> None:
    spans = [ClockStop(begin, end) for begin in range(5) for end in range(begin, 6)]
    for one, other in product(spans, spans):
        for clock, elapsed in product((Clock(0, 0), Clock(0, 2), Clock(1, 1)), range(5)):
            still = (one, other)
            moments = (at for at in range(clock.as_of, 20) if elapsed_at(clock, at, still) >= elapsed)
            assert wall_time_of(clock, elapsed, still) == next(moments), (clock, elapsed, still)


@pytest.mark.parametrize(("begins", "enters", "applies"), [(0, 30, 33), (-1, None, None)])
def test_a_pause_from_the_moment_of_a_stage_does_not_put_it_off(
    begins: int, enters: int | None, applies: int | None
) -> None:
    found = run(connection(DETECTED))
    found.advance(DETECTED + 30 * DAY_MS + begins - 1)
    found.command(pause(DETECTED + 30 * DAY_MS + begins, 3))
    found.advance(DETECTED + 33 * DAY_MS + begins)
    entered = [note for note in found.results.notifications if note.kind is NotificationKind.STAGE_ENTERED]
    assert [note.occurred_at for note in entered] == ([] if enters is None else [DETECTED + enters * DAY_MS])
    assert row(found).stage == (1 if enters is None else 2)
    found.advance(DETECTED + 33 * DAY_MS)
    assert (row(found).stage, row(found).status) == (2, "THROTTLED")
    assert found.results.verdicts[-1].effective_at == DETECTED + (applies or 33) * DAY_MS


# --- how long connections are quiet ---


def quiet_row(at: int, indexed: int, build: str = GOOD) -> ServerRow:
    """The row of a server that was reported at `at` and seen a millisecond later."""
    (state,) = run(connection(at, build), connection(at + 1, build)).states.values()
    return ServerRow(encode_state(state, indexed))


FAR = NOW + 30 * DAY_MS
MIDNIGHT = parse_moment("midnight", "2026-10-02T00:00:00Z")


def test_connections_are_quiet_for_an_hour_after_the_row_was_written() -> None:
    assert quiet_row(NOW, FAR).routine_until == NOW + 3_600_000
    assert quiet_row(MIDNIGHT - HOUR_MS, FAR).routine_until == MIDNIGHT


@pytest.mark.parametrize("before", [2, 1_000, HOUR_MS - 1])
def test_connections_are_quiet_until_the_day_ends(before: int) -> None:
    assert quiet_row(MIDNIGHT - before, FAR).routine_until == MIDNIGHT


def test_a_day_begins_at_midnight() -> None:
    assert quiet_row(MIDNIGHT - 1, FAR).routine_until == MIDNIGHT - 1 + HOUR_MS
    assert quiet_row(MIDNIGHT, FAR).routine_until == MIDNIGHT + HOUR_MS


def test_connections_are_quiet_until_something_is_due() -> None:
    assert quiet_row(NOW, NOW + 77).routine_until == NOW + 77


def test_connections_are_quiet_until_a_verdict_may_follow_the_last() -> None:
    (state,) = run(connection(NOW, OLD), connection(NOW + 1, OLD)).states.values()
    state.is_verdict_due, state.verdict_issued_at = True, NOW - DAY_MS + 99
    assert state.verdict_due_at >= NOW + 99
    assert ServerRow(encode_state(state, FAR)).routine_until == NOW + 99


@pytest.mark.parametrize(
    ("first", "bound"),
    [(NOW, NOW + 3_600_000), (MIDNIGHT - 30 * MINUTE_MS, MIDNIGHT)],
    ids=["the hour", "the end of the day"],
)
def test_a_connection_is_counted_before_the_bound_and_decided_at_it(first: int, bound: int) -> None:
    worker = Worker(until=NOW + DAY_MS)
    worker.apply(connection(first, GOOD), connection(first + 1, GOOD))
    assert not worker.decides(connection(bound - 1, GOOD))
    assert worker.decides(connection(bound, GOOD))


def test_a_judgement_that_changes_at_midnight_holds_from_midnight_on() -> None:
    critical = CriticalPatches(grace_days=23, known_exploited_only=False)
    rulebook = Rulebook((replace(read_policy("microsoft-2026-09"), critical_patches=critical),), shipped_catalogue())
    patched = "15.1.2507.72"  # has the fixes of August, not those of 8 September
    worker = Worker(until=MIDNIGHT + DAY_MS, rulebook=rulebook)
    worker.apply(*(connection(MIDNIGHT - before, patched) for before in (MINUTE_MS, 3, 2, 1)))
    assert (worker.state.finding.value, worker.state.stage) == ("COMPLIANT", 0)
    worker.apply(connection(MIDNIGHT, patched))
    assert (worker.state.finding.value, worker.state.detected_at) == ("OUT_OF_DATE", MIDNIGHT)


def test_a_stamp_holds_for_seven_days_also_while_connections_are_only_counted() -> None:
    held = connection(NOW, "15.1.2507.66")
    line = "from mx1.example.com by mx1.example.com with {} id {}; Thu, 1 Oct 2026 12:00:00 +0000"
    lines = (line.format("Microsoft SMTP Server", "15.1.2507.66"), line.format("mapi", "15.01.2507.069"))
    ends = NOW + 7 * DAY_MS
    worker = Worker(until=ends + DAY_MS)
    worker.apply(held._replace(received=lines))
    worker.apply(*(connection(ends - minutes * MINUTE_MS, "15.1.2507.66") for minutes in (30, 29)))
    assert not worker.decides(connection(ends - 1, "15.1.2507.66"))
    assert str(worker.state.build) == "15.1.2507.69"
    assert worker.decides(connection(ends, "15.1.2507.66"))
    assert str(worker.state.build) == "15.1.2507.66"
