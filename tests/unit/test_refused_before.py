"""What an edge refused at MAIL, without an event of its own, counts as refused with the client's next event."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from fastavro import schemaless_writer

from streams.domain.server.connection import InboundConnection, check_connection
from streams.domain.validation import MalformedError
from streams.wire.codec import AvroCodec
from streams.wire.fast_connection import decode_fast
from streams.wire.fast_headers import fast_headers
from streams.wire.records import connection_of, connection_record
from streams.wire.registry import ConfluentRegistry, LocalRegistry
from streams.wire.schemas import SUBJECTS, load_schema, without
from tests.support.episodes import DETECTED, connection, row, run
from tests.support.partition import CONNECTIONS, HEADER, HOST, Partition
from tests.support.partition import connection as record_of
from tests.support.registry_server import RegistryServer

MOST = 2**31 - 1
LINE: dict[str, Any] = {
    "event_id": "e1",
    "observed_at": "2026-10-01T20:00:00.000Z",
    "tenant_id": "t1",
    "connector_type": "ON_PREMISES",
    "source_ip": "192.0.2.1",
    "received": [],
}


def refused(at: int, refused_before: int, outcome: str | None = "REJECTED", event_id: str = "") -> InboundConnection:
    known = connection(at, event_id=event_id)
    return connection_of({**known._asdict(), "outcome": outcome, "refused_before": refused_before})


def older(record: dict[str, Any]) -> bytes:
    """The value of a connection as it was written before the field came."""
    schema = load_schema("inbound_connection")
    assert schema["fields"].pop()["name"] == "refused_before"
    schema_id = LocalRegistry().id_of(SUBJECTS["inbound_connection"], schema)
    out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    schemaless_writer(out, without(schema, {"doc", "logicalType"}), record)
    return out.getvalue()


def counts(partition: Partition) -> tuple[int, int, int, int]:
    """What the last report of the only server counts: connections, accepted, deferred, rejected."""
    last = partition.rows_of(HOST)[-1]
    return last["connections"], last["accepted"], last["deferred"], last["rejected"]


# --- counting ---


def test_what_was_refused_before_counts_as_connections_and_as_rejected() -> None:
    found = row(run(refused(DETECTED, 1_000, "DEFERRED")))
    assert (found.connections, found.accepted, found.deferred, found.rejected) == (1_001, 0, 1, 1_000)


def test_the_outcomes_add_up_to_the_connections() -> None:
    steps = [refused(DETECTED + n, n, ("ACCEPTED", "DEFERRED", "REJECTED")[n % 3]) for n in range(30)]
    (state,) = run(*steps).states.values()
    assert state.accepted + state.deferred + state.rejected == state.connections == 30 + sum(range(30))


def test_it_counts_late_and_only_once() -> None:
    event = refused(DETECTED + 10, 5, event_id="again")
    (state,) = run(event, refused(DETECTED, 7), event, event).states.values()
    assert (state.connections, state.rejected) == (14, 14)


@pytest.mark.parametrize("refused_before", [0, 1, 63, 64, 5_000, MOST])
def test_a_worker_that_only_counts_counts_it_too(refused_before: int) -> None:
    partition = Partition()
    rows = [record_of(n) for n in range(3)]
    rows += [record_of(3, refused_before=refused_before), record_of(3, refused_before=refused_before)]
    rows += [record_of(2, event_id="late", refused_before=refused_before)]
    partition.feed(rows)
    decided = partition.processor.decided
    partition.feed([record_of(3_600_000)])  # an hour after the first report, the next one is written before it
    assert counts(partition) == (min(5 + 2 * refused_before, MOST), 5, 0, min(2 * refused_before, MOST))
    # The fast decoder reads numbers of one byte; then nothing is decided but the first and the duplicate.
    assert decided == (2 if refused_before < 64 else 4)
    assert partition.counts["connections"] == 7 + 3 * refused_before


# --- reading ---


def test_a_connection_of_the_schema_before_is_read_either_way() -> None:
    record = record_of(1)
    value = older(record)
    fast = decode_fast(value, HEADER)
    assert fast is not None
    assert fast.connection() == connection_of(AvroCodec("inbound_connection", LocalRegistry()).decode(value))
    assert fast.connection() == connection_of(record | {"refused_before": 0})


def test_a_worker_counts_connections_of_both_schemas() -> None:
    partition = Partition()
    partition.feed([older(record_of(n)) if n % 2 else record_of(n, refused_before=2) for n in range(10)])
    assert not partition.letters
    assert partition.processor.decided == 1
    partition.feed([older(record_of(3_600_000))])
    assert counts(partition) == (20, 10, 0, 10)


@pytest.mark.parametrize("spoil", [lambda value: value[:-1], lambda value: value + b"\0"], ids=["short", "long"])
@pytest.mark.parametrize("encode", [older, CONNECTIONS.encode], ids=["previous", "current"])
def test_a_value_that_ends_too_early_or_too_late_is_left_to_the_codec(encode: Any, spoil: Any) -> None:
    assert decode_fast(encode(record_of(1)), HEADER) is not None
    assert decode_fast(spoil(encode(record_of(1))), HEADER) is None


def test_a_registry_that_does_not_know_the_schema_before_is_not_given_it() -> None:
    with RegistryServer() as server:
        registry = ConfluentRegistry(server.url)
        assert fast_headers(registry).previous == older(record_of(1))[:5]
        del server.subjects[SUBJECTS["inbound_connection"]][0]
        assert fast_headers(registry).previous == b""
        assert server.registered == 1  # this version's, once


# --- malformed ---


@pytest.mark.parametrize("value", [-1, 2**31, 1.5, "1", True, None, [], {}])
def test_a_line_says_what_is_wrong_with_it(value: object) -> None:
    with pytest.raises(MalformedError, match=r"^refused_before: .*: must be a whole number from 0 to 2147483647$"):
        connection_record(orjson.dumps(LINE | {"refused_before": value}))


def test_a_line_may_leave_it_out() -> None:
    assert connection_record(orjson.dumps(LINE))["refused_before"] == 0
    assert connection_record(orjson.dumps(LINE | {"refused_before": MOST}))["refused_before"] == MOST


@pytest.mark.parametrize("value", [-1, -(2**31), MOST + 1])
def test_a_connection_with_a_count_that_cannot_be_is_malformed(value: int) -> None:
    check_connection(refused(DETECTED, MOST))
    with pytest.raises(MalformedError, match=rf"^refused_before: {value}: must be from 0 to {MOST}$"):
        check_connection(refused(DETECTED, value))


def test_a_negative_count_makes_a_dead_letter_that_names_it() -> None:
    partition = Partition()
    partition.feed([record_of(n) for n in range(3)])
    partition.feed([record_of(4, refused_before=-1)])
    (letter,) = partition.letters
    assert dict(letter.headers)["error"] == f"MalformedError: refused_before: -1: must be from 0 to {MOST}".encode()
