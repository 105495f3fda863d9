"""One inbound connection, as the transport event bus reports it, and what makes one malformed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from streams.domain.exchange.names import canonical_address
from streams.domain.policy.policy import ConnectorType
from streams.domain.validation import MalformedError, check_moment, check_tenant

MAX_EVENT_ID_CHARS: Final = 255
MOST_REFUSED: Final = 2**31 - 1
"""The most answers that one connection tells of: what its schema takes."""


class Outcome(StrEnum):
    """What the edge did with the connection."""

    ACCEPTED = "ACCEPTED"
    DEFERRED = "DEFERRED"
    REJECTED = "REJECTED"


class InboundConnection(NamedTuple):
    """A connection; `observed_at` in UTC milliseconds, `received` topmost first below the service's own line.

    `source_ip` is in its canonical spelling, whatever the record's was. `refused_before` counts the messages of this
    client that the edge refused at MAIL since the client's last event.
    """

    event_id: str
    observed_at: int
    tenant_id: str
    connector_id: str
    connector_type: ConnectorType
    source_ip: str
    helo: str
    received: tuple[str, ...]
    tls_subject: str | None = None
    message_id: str | None = None
    outcome: Outcome | None = None
    recipients: int = 0
    refused_before: int = 0


def check_connection(connection: InboundConnection, key: bytes | None = None, now_ms: int | None = None) -> None:
    """Refuse a connection that cannot be judged honestly; `key` is the record's key, None where there is none.

    Raises:
        MalformedError: names the first bad field, its value and the rule.
    """
    check_tenant(connection.tenant_id)
    if key is not None and key != connection.tenant_id.encode():
        raise MalformedError(f"key: {key[:80]!r:.100}: must be the record's tenant_id {connection.tenant_id!r}")
    check_moment("observed_at", connection.observed_at, now_ms)
    if not 1 <= len(connection.event_id) <= MAX_EVENT_ID_CHARS:
        raise MalformedError(
            f"event_id: {connection.event_id[:80]!r:.100}: must be 1 to {MAX_EVENT_ID_CHARS} characters"
        )
    if canonical_address(connection.source_ip) is None:
        raise MalformedError(f"source_ip: {connection.source_ip[:80]!r:.100}: must be an IPv4 or IPv6 address")
    if connection.recipients < 0:
        raise MalformedError(f"recipients: {connection.recipients}: must not be negative")
    if not 0 <= connection.refused_before <= MOST_REFUSED:
        raise MalformedError(f"refused_before: {connection.refused_before}: must be from 0 to {MOST_REFUSED}")
