"""Reads of a connection's value only what decides, without decoding the rest.

`decode_fast` takes values that this version's schema wrote, or the one before it, whose strings are ASCII and short and
whose numbers are small, which is what almost all are. Of anything else it says None, and the value goes the long way,
through the codec. What it does take, the codec takes too, with the same fields: the whole value is walked, to its last
byte.
"""

from __future__ import annotations

from typing import Final

from streams.domain.exchange.detection import HostRun
from streams.domain.exchange.names import canonical_address
from streams.domain.policy.policy import CONNECTORS
from streams.domain.server.connection import InboundConnection
from streams.wire.fast_headers import OUTCOMES, FastHeaders

_ONE_BYTE: Final = 0x80
"""A varint below it has one byte; of a length, a text of less than 64 bytes."""
TENANT_AT: Final = 12
"""Where a value that is decoded here has its tenant: behind the header, the moment and the connector type."""


class FastConnection:
    """A connection as far as it is read; `connector` and `outcome` as symbol numbers, `outcome` -1 for none.

    Texts are left as their ASCII bytes: most of them are seldom looked at. `top_at` is where the value has the text of
    the topmost line, if there is one. `run` is what the lines show of their host, once that was found
    out; None before, and where only `detect` can tell.
    """

    __slots__ = (
        "connector",
        "connector_id",
        "event_id",
        "helo",
        "message_id",
        "observed_at",
        "outcome",
        "received",
        "recipients",
        "refused_before",
        "run",
        "source_ip",
        "tenant_id",
        "tls_subject",
        "top_at",
    )

    def __init__(
        self,
        observed_at: int,
        connector: int,
        tenant_id: bytes,
        received: list[bytes],
        event_id: bytes,
        connector_id: bytes,
        source_ip: bytes,
        helo: bytes,
        tls_subject: bytes | None,
        message_id: bytes | None,
        outcome: int,
        recipients: int,
        refused_before: int,
        top_at: int,
    ) -> None:
        self.observed_at, self.connector, self.tenant_id, self.received = observed_at, connector, tenant_id, received
        self.event_id, self.connector_id, self.source_ip, self.helo = event_id, connector_id, source_ip, helo
        self.tls_subject, self.message_id = tls_subject, message_id
        self.outcome, self.recipients, self.refused_before = outcome, recipients, refused_before
        self.top_at = top_at
        self.run: HostRun | None = None

    def connection(self) -> InboundConnection:
        """The whole connection."""
        tls_subject, message_id, source_ip = self.tls_subject, self.message_id, self.source_ip.decode()
        return InboundConnection(
            event_id=self.event_id.decode(),
            observed_at=self.observed_at,
            tenant_id=self.tenant_id.decode(),
            connector_id=self.connector_id.decode(),
            connector_type=CONNECTORS[self.connector],
            source_ip=canonical_address(source_ip) or source_ip,
            helo=self.helo.decode(),
            received=tuple([line.decode() for line in self.received]),
            tls_subject=None if tls_subject is None else tls_subject.decode(),
            message_id=None if message_id is None else message_id.decode(),
            outcome=OUTCOMES[self.outcome] if 0 <= self.outcome < len(OUTCOMES) else None,
            recipients=self.recipients,
            refused_before=self.refused_before,
        )


def decode_fast(value: bytes, headers: FastHeaders) -> FastConnection | None:
    """The fields that decide, or None where the codec has to look at the value."""
    try:
        has_refused_before = _is_current(value, headers)
        # Moments from 1987 to 2039 take six bytes; any other one is for the codec.
        b0, b1, b2, b3, b4, b5 = value[5], value[6], value[7], value[8], value[9], value[10]
        connector = value[11]
        if not (b0 & b1 & b2 & b3 & b4 & 0x80) or b5 & 0x81 == 0x81 or b5 >= _ONE_BYTE or b0 & 1:
            return None
        observed_at = (
            (b0 & 0x7F) | (b1 & 0x7F) << 7 | (b2 & 0x7F) << 14 | (b3 & 0x7F) << 21 | (b4 & 0x7F) << 28 | b5 << 35
        ) >> 1
        if connector > 4 or connector & 1:
            return None
        begin, at = _text(value, TENANT_AT)
        tenant_id = value[begin:at]
        count = value[at]
        at += 1
        received: list[bytes] = []
        top_at = 0
        if count:
            if count & 1 or count >= _ONE_BYTE:
                return None
            for _ in range(count >> 1):
                begin, at = _text(value, at)
                received.append(value[begin:at])
                top_at = top_at or begin
            if value[at]:
                return None
            at += 1
        rest_at = at
        begin, at = _text(value, at)
        event_id = value[begin:at]
        begin, at = _text(value, at)
        connector_id = value[begin:at]
        begin, at = _text(value, at)
        source_ip = value[begin:at]
        begin, at = _text(value, at)
        helo = value[begin:at]
        tls_subject, at = _optional_text(value, at)
        message_id, at = _optional_text(value, at)
        outcome = -1
        if value[at] == 2:
            symbol = value[at + 1]
            if symbol > 6 or symbol & 1:
                return None
            outcome = symbol >> 1
            at += 2
        elif value[at]:
            return None
        else:
            at += 1
        recipients, refused_before = _small_number(value, at), 0
        if has_refused_before:
            at += 1
            refused_before = _small_number(value, at)
        if at + 1 != len(value):
            return None
        for line in received:
            if not line.isascii():
                return None
        # Most of the other texts are short, their lengths below 0x80 as well: then one look is enough for all.
        if not tenant_id.isascii() or not (
            value[rest_at:].isascii()
            or (
                event_id.isascii()
                and connector_id.isascii()
                and source_ip.isascii()
                and helo.isascii()
                and (tls_subject is None or tls_subject.isascii())
                and (message_id is None or message_id.isascii())
            )
        ):
            return None
        return FastConnection(
            observed_at,
            connector >> 1,
            tenant_id,
            received,
            event_id,
            connector_id,
            source_ip,
            helo,
            tls_subject,
            message_id,
            outcome,
            recipients,
            refused_before,
            top_at,
        )
    except (IndexError, ValueError):
        return None


def _is_current(value: bytes, headers: FastHeaders) -> bool:
    """Whether this version's schema wrote a value, or the one before it.

    Raises:
        ValueError: another one did.
    """
    header = value[:5]
    if header == headers.current:
        return True
    if header != headers.previous:
        raise ValueError("header")
    return False


def _small_number(value: bytes, at: int) -> int:
    """The number at `at`.

    Raises:
        ValueError: it is negative, or takes more than one byte.
        IndexError: the value ends before it.
    """
    number = value[at]
    if number & 0x81:
        raise ValueError("number")
    return number >> 1


def _text(value: bytes, at: int) -> tuple[int, int]:
    """Where the text begins and ends whose length stands at `at`.

    Raises:
        ValueError: its length takes more than two bytes, more than it needs, or is negative.
        IndexError: the value ends before it.
    """
    length = value[at]
    at += 1
    if length >= _ONE_BYTE:
        high = value[at]
        if high >= _ONE_BYTE or not high:
            raise ValueError("length of a text")
        length = length & 0x7F | high << 7
        at += 1
    if length & 1:
        raise ValueError("length of a text")
    end = at + (length >> 1)
    if end > len(value):
        raise IndexError("end of a text")
    return at, end


def _optional_text(value: bytes, at: int) -> tuple[bytes | None, int]:
    """The text whose branch stands at `at`, None for the branch of null; and where it ends.

    Raises:
        ValueError: another branch, or as `_text`.
        IndexError: the value ends before it.
    """
    branch = value[at]
    if branch == 0:
        return None, at + 1
    if branch != 2:
        raise ValueError("branch of a text")
    begin, end = _text(value, at + 1)
    return value[begin:end], end
