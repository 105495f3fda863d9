"""One connection and what it shows of the server that connects."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.bounds import MAX_EVIDENCE_CHARS, MAX_TEXT_CHARS, cut
from streams.domain.exchange.build import Build, Product
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.detection import (
    Detection,
    HostRun,
    Origin,
    check_server,
    detect,
    detection_of,
    is_exchange_online,
)
from streams.domain.exchange.evidence import Evidence
from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import NEVER_JUDGED, Finding, Judgement
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection, check_connection

_WITHOUT_BUILD = {
    Origin.SMTPSVC: "Written by the SMTP service of Windows (Exchange 2000/2003 or IIS), whose number is not a build.",
    Origin.HTTP_DAV: "Written by Outlook Web Access of Exchange 2000/2003, which stamps no build.",
    Origin.IMS: "Written by the Internet Mail Service of Exchange 5.5 or older, whose number is not a build.",
}
TAKEN_OVER = Judgement(
    Finding.NOT_EXCHANGE, "For a long time only a gateway has sent mail in the name of this Exchange server."
)
"""What a server is found to be when its episode ends because a gateway took its name over."""


class Sighting(NamedTuple):
    """A connection and what its header shows of the server; the connection's texts are bounded."""

    connection: InboundConnection
    detection: Detection

    @property
    def key(self) -> ServerKey:
        """The server that connects."""
        return ServerKey(self.connection.tenant_id, self.detection.server)


def check_sighting(connection: InboundConnection, key: bytes | None = None, now_ms: int | None = None) -> None:
    """Refuse a connection that cannot be judged honestly, as `check_connection`, or whose server has no fit name.

    Raises:
        MalformedError: names the first bad field, its value and the rule.
    """
    check_connection(connection, key, now_ms)
    check_server(connection.received, connection.helo)


def detect_server(connection: InboundConnection, run: HostRun | None = None) -> Sighting:
    """Find out which server connects; `run` is what is known of its host's lines already."""
    if run is not None:
        found = detection_of(run, connection.received)
    else:
        found = detect(connection.received, connection.helo, connection.source_ip)
    return Sighting(bounded(connection), found)


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


def build_name(catalogue: Catalogue, server: str, build: Build | None) -> str | None:
    """What to call the build of a server, None without one."""
    if build is None:
        return None
    return Product.EXCHANGE_ONLINE.value if is_exchange_online(server, build) else catalogue.name(build)


def judgement_of(event: InboundConnection, found: Detection, rulebook: Rulebook) -> Judgement:
    """What a connection shows of its server, judged at its moment."""
    if found.origin is Origin.GATEWAY:
        return Judgement(
            Finding.NOT_EXCHANGE, "Exchange did not write the topmost line: the message passed through a gateway."
        )
    if found.origin is Origin.NONE:
        return Judgement(Finding.UNDETERMINED, "The message carries no Received line of the connecting server.")
    if (reason := _WITHOUT_BUILD.get(found.origin)) is not None:
        return Judgement(Finding.UNDETERMINED, reason)
    if found.build is None:
        return Judgement(Finding.UNDETERMINED, "The topmost line carries no Exchange build.")
    key = ServerKey(event.tenant_id, found.server)
    return judgement_of_build(key, found.build, event.observed_at, event.connector_type, rulebook)


def judgement_of_build(
    key: ServerKey, build: Build, at: int, connector_type: ConnectorType, rulebook: Rulebook
) -> Judgement:
    """What a server that shows a build is found to be at `at` (UTC milliseconds)."""
    if is_exchange_online(key.server, build):
        return Judgement(Finding.NOT_EXCHANGE, NEVER_JUDGED)
    return rulebook.judge(build, at, connector_type, key.tenant_id)


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
