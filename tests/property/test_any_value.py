"""Whatever a record holds: it is applied or becomes a dead letter alone, and what follows is decided."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.domain.bounds import CUT, MAX_EVIDENCE_CHARS, MAX_TEXT_CHARS
from streams.domain.time import DAY_MS
from streams.engine.telemetry import DEAD_LETTERS
from streams.state.server_row import decode_state, encode_state
from streams.telemetry.counts import COMMANDS as COMMANDS_COUNTED
from streams.telemetry.counts import CONNECTIONS as CONNECTIONS_COUNTED
from streams.wire.codec import MAX_VALUE_BYTES
from streams.wire.records import to_record
from streams.worker.channels import Codec
from streams.worker.processor import InputProcessor
from tests.support.partition import (
    COMMANDS,
    COMMANDS_TOPIC,
    CONNECTIONS,
    HEADER,
    HOST,
    RULEBOOK,
    START,
    TENANT,
    UNTIL,
    WIRES,
    Partition,
    command,
    connection,
    line_of,
)


def test_a_message_id_of_950_000_characters_stops_nobody() -> None:
    partition = Partition()
    partition.feed([connection(0)])
    long = connection(1, received=[line_of("15.1.2106.13")], message_id="<" + "x" * 950_000 + ">")
    good = connection(2, tenant_id="t2", received=[line_of("15.1.2106.2", "good.example.com")])
    partition.feed([long, good])
    partition.fire()
    assert partition.letters == []
    (found,) = {row["evidence"]["message_id"] for row in partition.rows_of(HOST)} - {None}
    assert (len(found), found[:3], found[-len(CUT) :]) == (MAX_TEXT_CHARS, "<xx", CUT)
    assert partition.rows_of("good.example.com")


def test_evidence_is_bounded_and_says_where_it_is_cut() -> None:
    partition = Partition()
    line = line_of("15.1.2106.2", note=" (" + "x" * 7_000 + ")")
    partition.feed([connection(0, received=[line], connector_id="é" * 70_000, message_id="m" * MAX_TEXT_CHARS)])
    partition.fire(START)
    (row,) = partition.rows_of(HOST)
    evidence = row["evidence"]
    assert evidence["received"] == line[: MAX_EVIDENCE_CHARS - len(CUT)] + CUT
    assert evidence["connector_id"] == row["connector_id"] == "é" * (MAX_TEXT_CHARS - len(CUT)) + CUT
    assert evidence["message_id"] == "m" * MAX_TEXT_CHARS


@pytest.mark.parametrize("field", ["issued_by", "server", "owner", "reason", "build", "malformed"])
@pytest.mark.parametrize("char", ["x", "\0", "\U0001f600"])
def test_a_long_text_in_a_command_refuses_it_and_names_the_field(field: str, char: str) -> None:
    partition = Partition()
    partition.feed([connection(0)])
    partition.feed([command(1, **{field: char * 200_000}), command(2)], COMMANDS_TOPIC)
    partition.feed([connection(3)])
    assert partition.letters == []
    long, good = partition.audit
    assert (long["outcome"], good["outcome"]) == ("REFUSED", "ACCEPTED")
    if field != "malformed":
        assert long["reason"].startswith(f"{field}: ")
        assert "must be at most" in long["reason"]


def test_a_command_without_a_complaint_is_not_malformed() -> None:
    partition = Partition()
    partition.feed([connection(0)])
    partition.feed([command(1, malformed="")], COMMANDS_TOPIC)
    (found,) = partition.audit
    assert found["outcome"] == "ACCEPTED"
    (pause,) = [row["paused_until"] for row in partition.rows_of(HOST)][-1:]
    assert pause == START + 1 + DAY_MS


def test_a_server_with_more_connections_than_are_counted_stops_nobody() -> None:
    partition = Partition()
    partition.feed([connection(0), connection(1)])
    key = f"s/{TENANT}/{HOST}".encode()
    state, indexed = decode_state(partition.store.get(key) or b"")
    state.connections = state.accepted = 2**31 - 2
    partition.store.write({key: encode_state(state, indexed)})
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, cached_servers=2)
    partition.feed([connection(number) for number in range(2, 9)])
    partition.feed([connection(9, received=[line_of("15.1.2507.61")])])
    assert partition.letters == []
    assert decode_state(partition.store.get(key) or b"")[0].connections == 2**31 - 1


class _Refusing:
    """A codec that refuses what is of one server once it `is_on`."""

    def __init__(self, codec: Codec, server: str, error: Exception) -> None:
        self.codec, self.server, self.error, self.is_on = codec, server, error, False

    def encode(self, record: dict[str, Any] | tuple[Any, ...]) -> bytes:
        if self.is_on and to_record(record)["server"] == self.server:
            raise self.error
        return self.codec.encode(record)

    def decode(self, value: bytes | None) -> dict[str, Any]:
        return self.codec.decode(value)


def test_a_timer_that_cannot_be_written_is_told_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    verdicts = _Refusing(WIRES.verdicts, HOST, ValueError("too long"))
    partition = Partition(replace(WIRES, verdicts=verdicts))
    other = "other.example.com"
    partition.feed([connection(0), connection(1, received=[line_of("15.1.2106.2", other)])])
    verdicts.is_on = True
    with caplog.at_level(logging.CRITICAL):
        partition.fire(START + 100 * DAY_MS)
    told = [row for row in caplog.records if row.levelno == logging.CRITICAL]
    assert {row.event for row in told} == {"output_left_out"}  # type: ignore[attr-defined]
    # Its state goes on: the row and the notifications are written, and nothing fires twice.
    assert partition.rows_of(HOST)[-1]["stage"] == partition.rows_of(other)[-1]["stage"] == 8
    entered = [
        row["server"]
        for row in partition.values(WIRES.notifications_topic, WIRES.notifications)
        if row["kind"] == "STAGE_ENTERED"
    ]
    assert sorted(entered) == [HOST] * 7 + [other] * 7
    seen = {row["server"] for row in partition.values(WIRES.verdicts_topic, WIRES.verdicts) if row["stage"] == 8}
    assert seen == {other}


def test_a_timer_that_fails_whatever_is_left_out_is_told_and_its_server_goes_on_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    partition = Partition()
    other = "other.example.com"
    partition.feed([connection(0), connection(1, received=[line_of("15.1.2106.2", other)])])
    key = f"s/{TENANT}/{HOST}".encode()
    state, indexed = decode_state(partition.store.get(key) or b"")
    good = partition.store.get(key)
    state.policy_version = 2**40  # no output can have such a number
    state.tenant_id = "x" * 2_000_000  # and no row may be so large
    partition.store.write({key: encode_state(state, indexed)})
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, cached_servers=2)
    with caplog.at_level(logging.CRITICAL):
        partition.fire(START + 100 * DAY_MS)
    assert {row.event for row in caplog.records if row.levelno == logging.CRITICAL} >= {"timer_failed"}  # type: ignore[attr-defined]
    assert partition.rows_of(other)[-1]["stage"] == 8
    assert good is not None
    partition.store.write({key: good})
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, cached_servers=2)
    partition.feed([connection(0, observed_at=START + 100 * DAY_MS)])
    assert partition.rows_of(HOST)[-1]["stage"] == 8


def test_what_is_no_records_fault_still_ends_the_worker_when_a_timer_meets_it() -> None:
    verdicts = _Refusing(WIRES.verdicts, HOST, OSError(28, "full"))
    partition = Partition(replace(WIRES, verdicts=verdicts))
    partition.feed([connection(0)])
    verdicts.is_on = True
    with pytest.raises(OSError, match="full"):
        partition.fire()


SIZES = (0, 1, 100, 254, 255, 256, 997, 998, 999, 2_000, 8_192, 65_536, 240_000, 950_000)
UNITS = ("x", "é", "\U0001f600", "\0", "\n", '"', "\\", "\u2028", "\u202e", "a.", "/", "İ")


@st.composite
def texts(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        return draw(st.text(max_size=20))
    unit, size = draw(st.sampled_from(UNITS)), draw(st.sampled_from(SIZES))
    return unit * min(size, MAX_VALUE_BYTES // 3 // len(unit.encode()) if draw(st.booleans()) else size)


@st.composite
def lines(draw: st.DrawFn) -> str:
    host = draw(st.sampled_from((HOST, "h." * 120 + "example", "mx")) | texts())
    build = draw(st.sampled_from(("15.1.2106.2", "15.1.2106.13", "15.1.2507.61", "999999999.9.9.999999999", "15.2")))
    return line_of(build, host, draw(st.sampled_from(("", " ")) | texts()))


STARTS = st.integers(START, START + 100 * DAY_MS)
SERVERS = st.sampled_from((HOST, "helo:h")) | texts()
CONNECTION = st.fixed_dictionaries(
    {},
    optional={
        "observed_at": STARTS,
        "connector_type": st.sampled_from(("ON_PREMISES", "PARTNER", "NONE")),
        "received": st.lists(lines() | texts(), max_size=3),
        "event_id": texts(),
        "connector_id": texts(),
        "source_ip": texts(),
        "helo": texts(),
        "tls_subject": st.none() | texts(),
        "message_id": st.none() | texts(),
        "outcome": st.sampled_from((None, "ACCEPTED", "REJECTED")),
        "recipients": st.integers(-(2**31), 2**31 - 1),
        "refused_before": st.integers(-(2**31), 2**31 - 1),
    },
)
KINDS = ("PAUSE_CREATE", "PAUSE_CANCEL", "PAUSE_SERVER", "EXCEPTION_GRANT", "EXCEPTION_REVOKE", "OVERRIDE_BUILD")
COMMAND = st.fixed_dictionaries(
    {},
    optional={
        "command_id": texts(),
        "kind": st.sampled_from((*KINDS, "UNKNOWN", "POLICY_PUBLISHED")),
        "issued_at": STARTS,
        "issued_by": texts(),
        "role": st.sampled_from(("OPERATOR", "TENANT_ADMIN")),
        "days": st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(1, 90),
        "server": st.none() | SERVERS,
        "owner": st.none() | texts(),
        "reason": st.none() | texts(),
        "build": st.none() | texts() | st.just("15.1.2507.61"),
        "expires_at": st.none() | st.integers(-(2**63), 2**63 - 1) | STARTS,
        "malformed": st.none() | texts(),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.just(True), CONNECTION) | st.tuples(st.just(False), COMMAND), min_size=1, max_size=6))
def test_no_value_ends_a_worker_or_leaves_a_later_record_unread(values: list[tuple[bool, dict[str, Any]]]) -> None:
    partition = Partition()
    partition.feed([connection(0)])
    count = 2
    for number, (is_connection, fields) in enumerate(values, 1):
        topic = WIRES.connections_topic if is_connection else COMMANDS_TOPIC
        record = connection(number, **fields) if is_connection else command(number, **fields)
        try:
            (CONNECTIONS if is_connection else COMMANDS).encode(record)
        except ValueError:
            continue  # larger than the codec takes
        partition.feed([record], topic)
        # One command id has one effect, and one audit record.
        count += is_connection or f"c{number}" == record["command_id"]
    partition.feed([connection(9, tenant_id="t2", received=[line_of("15.1.2106.2", "good.example.com")])])
    partition.fire()
    assert partition.rows_of("good.example.com")
    assert partition.rows_of(HOST)
    counts = partition.counts
    assert counts[CONNECTIONS_COUNTED] + counts[COMMANDS_COUNTED] + counts[DEAD_LETTERS] >= count
