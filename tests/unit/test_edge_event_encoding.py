"""The door's encoder of events: it writes what the general codec writes, and refuses what that refuses."""

from __future__ import annotations

import pytest

from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import InboundConnection, Outcome
from streams.edge.door_process import event_encoder
from streams.wire.codec import MAX_VALUE_BYTES, AvroCodec, RecordEncodingError
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry

CODEC = AvroCodec("inbound_connection", LocalRegistry(), is_checked=False)
EVENT = InboundConnection(
    "e1",
    1_800_000_000_000,
    "contoso",
    "main",
    ConnectorType.ON_PREMISES,
    "192.0.2.1",
    "mx1.example.com",
    ("from a by b",),
)


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        EVENT._replace(received=(), helo=""),
        EVENT._replace(
            received=tuple(f"línea {number}" for number in range(300)), connector_type=ConnectorType.PARTNER
        ),
        EVENT._replace(tls_subject="mx1.example.com", message_id="<ü@example.com>", outcome=Outcome.REJECTED),
        EVENT._replace(recipients=2**31 - 1, refused_before=7),
        EVENT._replace(received=("x" * 200_000,)),
    ],
)
def test_an_event_is_encoded_as_its_record_is(event: InboundConnection) -> None:
    value = event_encoder()(event)
    assert value == CODEC.encode(to_record(event))
    assert CODEC.decode(value) == to_record(event)


@pytest.mark.parametrize(
    "event",
    [
        EVENT._replace(helo="\udc80"),
        EVENT._replace(recipients=2**31),
        EVENT._replace(received=("x" * MAX_VALUE_BYTES,)),
    ],
)
def test_an_event_that_no_record_can_be_is_refused_by_name(event: InboundConnection) -> None:
    with pytest.raises(RecordEncodingError):
        event_encoder()(event)


def test_an_encoder_of_other_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="has other fields"):
        CODEC.tuple_encoder(["event_id"])
