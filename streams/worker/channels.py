"""Where a worker's records go, and their bytes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.server.decide import Emitted, Forgotten
from streams.domain.tenant.audit import AuditRecord
from streams.engine.partition.view import check_output
from streams.engine.ports import Output
from streams.errors import is_records_fault
from streams.kafka.record import Headers
from streams.log_events import log_event
from streams.wire.cloud_events import notification_headers, verdict_headers
from streams.wire.records import to_record

log = logging.getLogger(__name__)

Place = tuple[str, bytes, "Codec | None", Headers]
"""Topic, key, codec and own headers of an output; without a codec it is a tombstone."""


class Codec(Protocol):
    """Records to bytes and back."""

    def encode(self, record: dict[str, Any] | tuple[Any, ...]) -> bytes:
        """The value of a record, or of a named tuple with its fields."""

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """The record of a value."""


@dataclass(frozen=True, slots=True)
class RecordChannels:
    """Topics and codecs of what is read and written."""

    connections_topic: str
    connections: Codec
    commands: Codec
    verdicts_topic: str
    verdicts: Codec
    notifications_topic: str
    notifications: Codec
    servers_topic: str
    servers: Codec
    audit_topic: str
    audit: Codec


def encode_output(wires: RecordChannels, emitted: Emitted | AuditRecord, headers: Headers) -> list[Output]:
    """The bytes of what is emitted; `headers` stand behind those that a record has of its own.

    Raises:
        ValueError: it has a value that its schema does not take, or is larger than its topic takes.
    """
    return [_output(place, emitted, headers) for place in _places_of(wires, emitted)]


def encode_what_fits(
    wires: RecordChannels, emitted: Emitted | AuditRecord, headers: Headers
) -> tuple[list[Output], bool]:
    """The bytes of what is emitted, and whether all of it can be written; what cannot is logged and left out."""
    outputs, is_whole = [], True
    for place in _places_of(wires, emitted):
        try:
            outputs.append(_output(place, emitted, headers))
        except Exception as error:
            if not is_records_fault(error):
                raise
            is_whole = False
            log.critical(
                "dropped the output of a timer to %s: %s: %s",
                *(place[0], type(error).__name__, str(error)[:1000]),
                extra=log_event("output_left_out", topic=place[0], reason=type(error).__name__),
            )
    return outputs, is_whole


def _output(place: Place, emitted: Emitted | AuditRecord, headers: Headers) -> Output:
    topic, key, codec, own = place
    value = codec.encode(emitted if isinstance(emitted, tuple) else to_record(emitted)) if codec is not None else None
    output = Output(topic, key, value, (*own, *headers) if own else headers)
    check_output(output)
    return output


def _places_of(wires: RecordChannels, emitted: Emitted | AuditRecord) -> list[Place]:
    match emitted:
        case Verdict():
            event = verdict_headers(emitted.verdict_id, emitted.issued_at)
            return [(wires.verdicts_topic, emitted.key.topic_key(), wires.verdicts, event)]
        case AdminNotification():
            event = notification_headers(emitted.notification_id, emitted.occurred_at)
            return [(wires.notifications_topic, emitted.tenant_id.encode(), wires.notifications, event)]
        case ServerReport():
            return [(wires.servers_topic, emitted.key.topic_key(), wires.servers, ())]
        case AuditRecord():
            return [(wires.audit_topic, emitted.tenant_id.encode(), wires.audit, ())]
        case Forgotten():
            key = emitted.key.topic_key()
            return [(wires.verdicts_topic, key, None, ()), (wires.servers_topic, key, None, ())]
