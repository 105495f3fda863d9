"""Records of the topics that the report reads: what is taken, and what is named and passed over."""

from __future__ import annotations

from typing import Any, Self

import pytest

from streams.domain.keys import ServerKey
from streams.kafka.places import Place
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS, Batch
from streams.report.reading.decoding import Decoder
from streams.testing import FakeRecord, ManualClock
from streams.wire.records import to_json
from streams.wire.registry import UNKNOWN_SECONDS, ConfluentRegistry, LocalRegistry, RegistryError
from tests.support.registry_server import RegistryServer
from tests.support.report import audit_record, encoded, notification_record, report_record, verdict_record

KEY = b"contoso/mx1.contoso.com"
YEAR_10000 = 253_402_300_800_000
STAGE = {"stage": 3, "starts_at": YEAR_10000 - 1, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 60}


class Record(FakeRecord):
    partition = 2


def decode(name: str, key: bytes | None, value: bytes | None) -> Batch:
    return Decoder(LocalRegistry(), str).decode([Record(name, 7, 1, key, value)], {})


@pytest.mark.parametrize(
    ("name", "key", "record"),
    [
        (SERVERS, KEY, report_record()),
        (VERDICTS, KEY, verdict_record()),
        (NOTIFICATIONS, b"contoso", notification_record(1)),
        (AUDIT, b"contoso", audit_record(1)),
        (AUDIT, b"*", audit_record(1, tenant_id="*")),
    ],
)
def test_a_record_of_its_topic_is_taken_and_every_other_value_is_not(
    name: str, key: bytes, record: dict[str, Any]
) -> None:
    value = encoded(name, record)
    batch = decode(name, key, value)
    (read,) = [*batch.servers, *batch.verdicts, *batch.notifications, *batch.audits]
    assert (read.place, read.offset, read.record) == (Place(name, 2), 7, record)
    assert read.key == ServerKey.parse(key)
    for other in [*(value[:size] for size in range(len(value))), value + b"\0", b"\7" + value[1:]]:
        batch = decode(name, key, other)
        assert [(one.place, one.offset) for one in batch.unreadable] == [(Place(name, 2), 7)]
        assert not [*batch.servers, *batch.verdicts, *batch.notifications, *batch.audits]


@pytest.mark.parametrize("name", [SERVERS, VERDICTS])
def test_a_tombstone_is_of_its_key(name: str) -> None:
    batch = decode(name, KEY, None)
    (read,) = [*batch.servers, *batch.verdicts]
    assert (read.key, read.record) == (ServerKey.parse(KEY), None)


@pytest.mark.parametrize(
    ("name", "key", "record", "why"),
    [
        (SERVERS, None, report_record(), "key: None"),
        (SERVERS, b"fabrikam/mx1.contoso.com", report_record(), "must be 'contoso/mx1.contoso.com'"),
        (NOTIFICATIONS, b"fabrikam", notification_record(1), "must be 'contoso'"),
        (SERVERS, b"*/mx1", report_record("mx1", tenant_id="*"), "tenant_id: '*'"),
        (NOTIFICATIONS, b"*", notification_record(1, tenant_id="*"), "tenant_id: '*'"),
        (SERVERS, KEY, report_record(reported_at=4_102_444_800_000), "reported_at: 4102444800000"),
        (SERVERS, KEY, report_record(accepted=-1), "accepted: -1"),
        (SERVERS, KEY, report_record(stage=-5), "stage: -5"),
        (SERVERS, KEY, report_record(paused_until=2**60), "paused_until: "),
        (SERVERS, KEY, report_record(next_stage_start_date=YEAR_10000), "next_stage_start_date: "),
        (SERVERS, KEY, report_record(schedule=[STAGE | {"starts_at": YEAR_10000}]), "schedule.starts_at: "),
        (SERVERS, b"contoso/" + b"x" * 300, None, "server: "),
    ],
)
def test_what_no_row_can_be_made_of_is_passed_over(
    name: str, key: bytes | None, record: dict[str, Any] | None, why: str
) -> None:
    batch = decode(name, key, None if record is None else encoded(name, record))
    assert [why in one.reason for one in batch.unreadable] == [True]


def test_what_a_report_says_of_the_last_day_of_the_calendar_can_be_shown() -> None:
    record = report_record(next_stage_start_date=YEAR_10000 - 1, schedule=[STAGE])
    (read,) = decode(SERVERS, KEY, encoded(SERVERS, record)).servers
    assert read.record is not None
    assert to_json(read.record)["next_stage_start_date"] == "9999-12-31T23:59:59.999Z"


UNKNOWN = (404, b'{"error_code": 40403, "message": "Schema not found"}')


def records_of(count: int) -> list[Any]:
    """Reports of two partitions in turn, and the id of their schema."""
    value = encoded(SERVERS, report_record())
    return [Placed(SERVERS, number, 1, KEY, value, partition=number % 2) for number in range(count)]


class Placed(FakeRecord):
    partition: int

    def __new__(cls, *values: Any, partition: int) -> Self:
        made = super().__new__(cls, *values)
        made.partition = partition
        return made


def test_a_schema_that_a_registry_may_learn_is_waited_for_and_the_rest_is_read() -> None:
    clock, records = ManualClock(), records_of(6)
    known = records[0].value
    unknown = known[:1] + (7_000).to_bytes(4, "big") + known[5:]
    records[2] = Placed(SERVERS, 2, 1, KEY, unknown, partition=0)
    with RegistryServer() as server:
        decoder = Decoder(ConfluentRegistry(server.url, now=clock), str, patience=600, clock=clock)
        for seconds in (0, 300, 299):
            clock.seconds += seconds
            batch = decoder.decode(records, {})
            assert [(place.partition, one.offset) for place, one in batch.waits.items()] == [(0, 2)]
            assert "unknown schema id 7000" in batch.waits[Place(SERVERS, 0)].reason
            assert [read.offset for read in batch.servers] == [0, 1, 3, 5]
            assert batch.unreadable == []
        server.answers[7_000] = server.schema_answer(int.from_bytes(known[1:5], "big"))
        clock.seconds += UNKNOWN_SECONDS
        batch = decoder.decode(records, {})
        assert (len(batch.servers), dict(batch.waits), batch.unreadable) == (6, {}, [])


def test_a_schema_that_never_comes_is_waited_for_only_so_long() -> None:
    clock, records = ManualClock(), records_of(4)
    for number, schema_id in ((0, 7_000), (2, 7_001)):
        value = records[number].value
        value = value[:1] + schema_id.to_bytes(4, "big") + value[5:]
        records[number] = Placed(SERVERS, number, 1, KEY, value, partition=0)
    with RegistryServer() as server:
        decoder = Decoder(ConfluentRegistry(server.url, now=clock), str, patience=600, clock=clock)
        assert [one.offset for one in decoder.decode(records, {}).waits.values()] == [0]
        clock.seconds += 600
        batch = decoder.decode(records, {})
        assert [one.offset for one in batch.unreadable] == [0]
        assert [one.offset for one in batch.waits.values()] == [2]
        clock.seconds += 600
        assert [one.offset for one in decoder.decode(records, {}).unreadable] == [0, 2]


def test_a_registry_that_does_not_answer_is_never_taken_for_one_that_does_not_know() -> None:
    clock = ManualClock()
    with RegistryServer() as server:
        server.answers[7_000] = (503, b"{}")
        decoder = Decoder(ConfluentRegistry(server.url, now=clock), str, patience=600, clock=clock)
        record = records_of(1)[0]
        record = record._replace(value=record.value[:1] + (7_000).to_bytes(4, "big") + record.value[5:])
        record.partition = 0
        for _ in range(3):
            with pytest.raises(RegistryError):
                decoder.decode([record], {})
            clock.seconds += 600


def test_the_registry_that_ships_learns_nothing_and_nothing_is_waited_for() -> None:
    record = records_of(1)[0]
    value = record.value[:1] + (7_000).to_bytes(4, "big") + record.value[5:]
    decoder = Decoder(LocalRegistry(), str, patience=600)
    batch = decoder.decode([Placed(SERVERS, 0, 1, KEY, value, partition=0)], {})
    assert [one.offset for one in batch.unreadable] == [0]
    assert batch.waits == {}
