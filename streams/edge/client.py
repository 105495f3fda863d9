"""What a door says of a client and its message, and what it is to answer."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.edge import Decision
from streams.domain.policy.policy import ConnectorType


class Connector(NamedTuple):
    """The way in of a tenant's mail."""

    tenant_id: str
    connector_id: str
    type: ConnectorType = ConnectorType.ON_PREMISES


class Client(NamedTuple):
    """Who connects: `source_ip` is canonical, `tls_fingerprint` is in lower-case hexadecimal digits without colons.

    `tls_subject` is the name in a trusted certificate. `connector` is the one that the MTA itself names; None where the
    configured connectors decide.
    """

    source_ip: str
    helo: str = ""
    tls_subject: str | None = None
    tls_fingerprint: str | None = None
    connector: Connector | None = None


class Message(NamedTuple):
    """A message with its `Received` values, topmost first, without the one that the MTA adds itself."""

    received: tuple[str, ...]
    message_id: str | None = None
    recipients: int = 0
    queue_id: str | None = None


class Answer(NamedTuple):
    """What a door answers.

    `reply` is one line of SMTP, printable ASCII of at most 510 bytes; None accepts. `decision` is what was decided,
    also in report mode, which accepts all mail; None where nothing was decided. `header` is the value of `X-TES`; None
    for no such header.
    """

    reply: str | None = None
    decision: Decision | None = None
    event_id: str | None = None
    header: str | None = None


ACCEPTED = Answer()
"""For mail of no connector, and where the door itself failed."""
