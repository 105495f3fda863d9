"""The ports of the door: verdicts, spool, connectors, telemetry; and what its servers need of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from streams.domain.edge import Decision, EdgeVerdict, Knowledge
from streams.domain.keys import ServerKey
from streams.edge.client import Answer, Client, Connector, Message


class UnreadableVerdictError(ValueError):
    """The newest verdict about a server cannot be read."""


class SpooledEvent(NamedTuple):
    """An event on its way: `body` is the record in Avro, its header with the id that the shipped registry has for it.

    An event that is not `is_eventful` says nothing new, and is dropped first where the disk has no more room.
    """

    tenant_id: str
    event_id: str
    is_eventful: bool
    body: bytes


class Verdicts(Protocol):
    """The verdicts on disk."""

    @property
    def knowledge(self) -> Knowledge:
        """How current they are."""

    def find(self, key: ServerKey) -> EdgeVerdict | None:
        """The newest verdict about a server; None where there is none, or none that can ever act.

        Raises:
            UnreadableVerdictError: it cannot be read.
        """


class Spool(Protocol):
    """Events on disk, until Kafka has them."""

    def refused(self, client: bytes) -> int:
        """How many answers without an event a client had since its last event."""

    def count_refused(self, client: bytes) -> None:
        """Count one more, so that it survives the process."""

    def append(self, event: SpooledEvent, counted: bytes | None = None) -> bool:
        """Commit an event, and with it forget what `refused` counted for the client `counted`; None for no client.

        Returns whether it is stored; it is not where the disk is full, and then it is lost and counted.
        """

    def append_all(self, events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
        """Commit events, with one commit where that is possible; returns those that are lost."""


class Connectors(Protocol):
    """The connectors in force."""

    def find(self, client: Client) -> Connector | None:
        """The connector that a client comes through; None for none."""


class DoorTelemetry(Protocol):
    """Counts what the door did."""

    def answered(self, moment: str, decision: Decision, seconds: float) -> None:
        """A decision was made at `moment`, `mail` or `message`, within so many seconds."""

    def unmatched(self) -> None:
        """A message came through no connector."""

    def event_lost(self, tenant_id: str, event_id: str) -> None:
        """An event could not be stored."""

    def failed(self, where: str, error: Exception) -> None:
        """The door failed at a place; the message was accepted."""


class MailDoor(Protocol):
    """What answers MTAs; see `door.Door`."""

    @property
    def adds_header(self) -> bool:
        """Whether answers may have an `X-TES` header."""

    def connector_of(self, client: Client, *, is_counted: bool = True) -> Connector | None:
        """Through which connector a message of a client comes in; None where it is none of ours."""

    def answer_mail(self, client: Client, connector: Connector) -> Answer | None:
        """What to answer before the headers are seen; None where they must be seen."""

    def answer_message(self, client: Client, connector: Connector, message: Message) -> Answer:
        """What to answer to a message."""
