"""Reads of a connection's value only what decides, without decoding the rest.

`project` takes values that this version's schema wrote and whose strings are ASCII and short, which is what almost all
are. Of anything else it says None, and the value goes the long way, through the codec. What it does take, the codec
takes too, with the same fields: the whole value is walked, to its last byte.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from streams.adapters.schemas import SUBJECTS, SchemaRegistry, load_schema, without
from streams.domain.connection import InboundConnection, Outcome
from streams.domain.policy import CONNECTORS

_ONE_BYTE: Final = 0x80
"""A varint below it has one byte; twice the length, so a string has less than 64 bytes."""
_FIELDS: Final = [
    ("observed_at", "long"),
    ("connector_type", 3),
    ("tenant_id", "string"),
    ("received", ["array of", "string"]),
    ("event_id", "string"),
    ("connector_id", "string"),
    ("source_ip", "string"),
    ("helo", "string"),
    ("tls_subject", ["null", "string"]),
    ("message_id", ["null", "string"]),
    ("outcome", ["null", 4]),
    ("recipients", "int"),
]
"""The fields on the wire, enums as their number of symbols."""


OUTCOMES: Final = tuple(Outcome)


class ProjectionError(ValueError):
    """The schema is not the one that the projection was written for."""


class Projected(NamedTuple):
    """A connection as far as it is read; `connector` and `outcome` as symbol numbers, `outcome` -1 for none.

    Texts that are seldom looked at are left as their ASCII bytes.
    """

    observed_at: int
    connector: int
    tenant_id: bytes
    received: list[str]
    event_id: bytes
    connector_id: bytes
    source_ip: bytes
    helo: bytes
    tls_subject: bytes | None
    message_id: bytes | None
    outcome: int
    recipients: int

    def connection(self) -> InboundConnection:
        """The whole connection."""
        tls_subject, message_id = self.tls_subject, self.message_id
        return InboundConnection(
            event_id=self.event_id.decode(),
            observed_at=self.observed_at,
            tenant_id=self.tenant_id.decode(),
            connector_id=self.connector_id.decode(),
            connector_type=CONNECTORS[self.connector],
            source_ip=self.source_ip.decode(),
            helo=self.helo.decode(),
            received=tuple(self.received),
            tls_subject=None if tls_subject is None else tls_subject.decode(),
            message_id=None if message_id is None else message_id.decode(),
            outcome=OUTCOMES[self.outcome] if 0 <= self.outcome < len(OUTCOMES) else None,
            recipients=self.recipients,
        )


def _shape(kind: Any) -> Any:
    """A type as the wire knows it: `long` for `{"type": "long"}`, an enum as its number of symbols."""
    if isinstance(kind, list):
        return [_shape(branch) for branch in kind]
    if isinstance(kind, str):
        return kind
    if kind["type"] == "enum":
        return len(kind["symbols"])
    return ["array of", _shape(kind["items"])] if kind["type"] == "array" else _shape(kind["type"])


def header_of(registry: SchemaRegistry) -> bytes:
    """The first five bytes of the values that `project` takes.

    Raises:
        ProjectionError: the schema has other fields than `project` knows.
    """
    schema = load_schema("inbound_connection")
    plain = without(schema, {"doc", "logicalType"})
    if [(field["name"], _shape(field["type"])) for field in plain["fields"]] != _FIELDS:
        raise ProjectionError("inbound_connection: its fields are not those that are projected")
    return b"\0" + registry.id_of(SUBJECTS["inbound_connection"], schema).to_bytes(4, "big")


def project(value: bytes, header: bytes) -> Projected | None:
    """The fields that decide, or None where the codec has to look at the value."""
    try:
        if value[:5] != header:
            return None
        # Moments from 1987 to 2039 take six bytes; any other one is for the codec.
        b0, b1, b2, b3, b4, b5, connector, length = value[5:13]
        if not (b0 & b1 & b2 & b3 & b4 & 0x80) or b5 & 0x81 == 0x81 or b5 >= _ONE_BYTE or b0 & 1:
            return None
        observed_at = (
            (b0 & 0x7F) | (b1 & 0x7F) << 7 | (b2 & 0x7F) << 14 | (b3 & 0x7F) << 21 | (b4 & 0x7F) << 28 | b5 << 35
        ) >> 1
        if connector > 4 or connector & 1 or length >= _ONE_BYTE or length & 1:
            return None
        at = 13 + (length >> 1)
        tenant_id = value[13:at]
        count = value[at]
        at += 1
        received: list[str] = []
        if count:
            if count & 1 or count >= _ONE_BYTE:
                return None
            for _ in range(count >> 1):
                length = value[at]
                at += 1
                if length >= _ONE_BYTE:
                    high = value[at]
                    if high >= _ONE_BYTE or not high:
                        return None
                    length = length & 0x7F | high << 7
                    at += 1
                if length & 1:
                    return None
                start = at
                at += length >> 1
                if at > len(value):
                    return None
                received.append(value[start:at].decode("ascii"))
            if value[at]:
                return None
            at += 1
        texts: list[Any] = []
        for number in range(6):
            if number >= 4:
                branch = value[at]
                at += 1
                if not branch:
                    texts.append(None)
                    continue
                if branch != 2:
                    return None
            length = value[at]
            at += 1
            if length >= _ONE_BYTE:
                high = value[at]
                if high >= _ONE_BYTE or not high:
                    return None
                length = length & 0x7F | high << 7
                at += 1
            if length & 1:
                return None
            start = at
            at += length >> 1
            text = value[start:at]
            if not text.isascii():
                return None
            texts.append(text)
        outcome = -1
        branch = value[at]
        at += 1
        if branch:
            symbol = value[at]
            at += 1
            if branch != 2 or symbol > 6 or symbol & 1:
                return None
            outcome = symbol >> 1
        recipients = value[at]
        if recipients & 1 or recipients >= _ONE_BYTE or at + 1 != len(value) or not tenant_id.isascii():
            return None
        return Projected._make((observed_at, connector >> 1, tenant_id, received, *texts, outcome, recipients >> 1))
    except (IndexError, ValueError):
        return None
