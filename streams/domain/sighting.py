"""One connection and what it shows of the server that connects."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.bounds import MAX_EVIDENCE_CHARS, MAX_TEXT_CHARS, cut
from streams.domain.connection import InboundConnection
from streams.domain.headers import Detection, Origin, detect
from streams.domain.judgement import Finding, Judgement
from streams.domain.rules import Rulebook
from streams.domain.state import Evidence


class Sighting(NamedTuple):
    """A connection and what its header shows of the server; the connection's texts are bounded."""

    connection: InboundConnection
    found: Detection

    @property
    def server(self) -> str:
        """The server's name, the second part of its key."""
        return self.found.server


def sight(connection: InboundConnection) -> Sighting:
    """Find out which server connects."""
    return Sighting(bounded(connection), detect(connection.received, connection.helo, connection.source_ip))


def bounded(connection: InboundConnection) -> InboundConnection:
    """The connection with its senders' texts cut to what is kept; its lines are left as they are."""
    message_id, tls_subject = connection.message_id, connection.tls_subject
    if (
        len(connection.connector_id) <= MAX_TEXT_CHARS
        and len(connection.helo) <= MAX_TEXT_CHARS
        and (message_id is None or len(message_id) <= MAX_TEXT_CHARS)
        and (tls_subject is None or len(tls_subject) <= MAX_TEXT_CHARS)
    ):
        return connection
    return connection._replace(
        connector_id=cut(connection.connector_id),
        helo=cut(connection.helo),
        message_id=None if message_id is None else cut(message_id),
        tls_subject=None if tls_subject is None else cut(tls_subject),
    )


def judgement_of(event: InboundConnection, found: Detection, rulebook: Rulebook) -> Judgement:
    """What a connection shows of its server, judged at its moment."""
    if found.origin is Origin.GATEWAY:
        return Judgement(Finding.NOT_EXCHANGE, "Exchange did not write the topmost line: a gateway is between.")
    if found.origin is Origin.NOTHING:
        return Judgement(Finding.UNDETERMINED, "The message carries no Received line of the connecting server.")
    if found.origin is Origin.SMTPSVC:
        reason = "Written by the SMTP service of Windows (Exchange 2000/2003 or IIS), whose number is not a build."
        return Judgement(Finding.UNDETERMINED, reason)
    if found.build is None:
        return Judgement(Finding.UNDETERMINED, "The topmost line carries no Exchange build.")
    return rulebook.judge(found.build, event.observed_at, event.connector_type, event.tenant_id)


def evidence_of(event: InboundConnection, found: Detection) -> Evidence:
    """Which message showed what was found, and where in it, as far as it is kept."""
    event = bounded(event)
    return Evidence(
        received=None if found.received is None else cut(found.received, MAX_EVIDENCE_CHARS),
        position=found.position,
        protocol=found.protocol,
        event_id=event.event_id,
        message_id=event.message_id,
        connector_id=event.connector_id,
        source_ip=event.source_ip,
        observed_at=event.observed_at,
    )
