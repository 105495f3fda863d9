"""The door: decides what to answer to each message, and stores an event about it before the answer goes out.

A server that has several questions at once lets it store their events together, and answers behind that.

Whatever fails here, the mail is accepted: nothing that happens to this product may stop or delay mail.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from streams.clock import wall_clock_ms
from streams.domain.bounds import cut
from streams.domain.edge import (
    Cause,
    ClientFinding,
    Decision,
    Limits,
    Trust,
    decide_early,
    passing_cause,
    trust_in,
)
from streams.domain.exchange.detection import Detection, detect
from streams.domain.ids import stable_id, uuid_of
from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import Action
from streams.domain.server.connection import InboundConnection, Outcome
from streams.domain.validation import MalformedError
from streams.edge.client import ACCEPTED, Answer, Client, Connector, Message
from streams.edge.deciding import decide_by, kept_lines
from streams.edge.decision_counts import MAIL, MESSAGE
from streams.edge.findings import Findings
from streams.edge.ports import Connectors, DoorTelemetry, Spool, SpooledEvent, UnreadableVerdictError, Verdicts

MAX_CLIENT_KEY_BYTES: Final = 200
"""A client's key that would be longer is hashed."""
OUTCOMES: Final = {
    Action.ACCEPT: Outcome.ACCEPTED,
    Action.THROTTLE: Outcome.DEFERRED,
    Action.BLOCK: Outcome.REJECTED,
}
MAX_HELD: Final = 256
"""Events that are stored together: sync waits for their transaction, and memory has them."""


class _Held(NamedTuple):
    """An event that is not stored yet, and what was decided at which second of the clock of `perf_counter`."""

    event: SpooledEvent
    decision: Decision
    began: float


class Door:
    """Decides about messages. It is not thread-safe, and it never waits for anything but the disk."""

    def __init__(
        self,
        connectors: Connectors,
        verdicts: Verdicts,
        spool: Spool,
        encode: Callable[[InboundConnection], bytes],
        telemetry: DoorTelemetry,
        *,
        host: str,
        is_enforcing: bool,
        adds_header: bool = False,
        limits: Limits | None = None,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Answer for an MTA.

        Args:
            connectors: whose mail comes in.
            verdicts: what is known about servers.
            spool: where events go.
            encode: makes the body of an event.
            telemetry: counts answers and failures.
            host: this machine's name, part of the ids of events.
            is_enforcing: whether mail is delayed and refused; else every message is accepted, and only reported.
            adds_header: whether accepted messages get an `X-TES` header.
            limits: how long what is known is believed.
            clock: returns UTC milliseconds.
        """
        self._connectors, self._verdicts, self._spool = connectors, verdicts, spool
        self._encode, self._telemetry, self._clock = encode, telemetry, clock
        self._host, self._is_enforcing, self._adds_header = host, is_enforcing, adds_header
        self._limits = limits or Limits()
        self._findings = Findings()
        self._held: list[_Held] = []

    @property
    def adds_header(self) -> bool:
        """Whether answers may have an `X-TES` header."""
        return self._adds_header

    def connector_of(self, client: Client, *, is_counted: bool = True) -> Connector | None:
        """Through which connector a message of a client comes in.

        None where no connector matches, or the lookup failed. Messages of no connector are counted, unless the MTA will
        ask about them again.
        """
        try:
            connector = client.connector or self._connectors.find(client)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed("connector", error)
            return None
        if connector is None and is_counted:
            self._telemetry.unmatched()
        return connector

    def answer_mail(self, client: Client, connector: Connector) -> Answer | None:
        """What to answer before the headers are seen; None where they must be seen, as for nearly all clients."""
        if not self._is_enforcing:
            return None
        try:
            return self._answer_early(client, connector)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed(MAIL, error)
            return None

    def answer_message(self, client: Client, connector: Connector, message: Message) -> Answer:
        """What to answer to a message, whose event is stored when this returns."""
        answer = self.decide_message(client, connector, message)
        self.store_events()
        return answer

    def decide_message(self, client: Client, connector: Connector, message: Message) -> Answer:
        """What to answer to a message once `store_events` has stored its event."""
        try:
            return self._decide(client, connector, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed(MESSAGE, error)
            return ACCEPTED

    def store_events(self) -> None:
        """Store the events of the messages that were decided; they may be answered then."""
        held = self._held
        if not held:
            return
        self._held = []
        try:
            for event in self._spool.append_all([item.event for item in held]):
                self._telemetry.event_lost(event.tenant_id, event.event_id)
            now = time.perf_counter()
            for item in held:
                self._telemetry.answered(MESSAGE, item.decision, now - item.began)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed(MESSAGE, error)

    def _answer_early(self, client: Client, connector: Connector) -> Answer | None:
        began, client_key = time.perf_counter(), _client_key(client, connector)
        findings = self._findings.of_refused(client_key)
        if not findings or findings[-1].has_passed:
            return None  # whatever the verdict says, which need not be looked up
        now = self._clock()
        try:
            verdict = self._verdicts.find(findings[-1].server)
        except UnreadableVerdictError:
            return None
        decision = decide_early(findings, verdict, self._trust(now), now, self._limits.probe)
        if decision is None:
            return None
        self._spool.count_refused(client_key)
        self._telemetry.answered(MAIL, decision, time.perf_counter() - began)
        return Answer(decision.reply, decision)

    def _decide(self, client: Client, connector: Connector, message: Message) -> Answer:
        began, now, client_key = time.perf_counter(), self._clock(), _client_key(client, connector)
        # The event has the lines that are judged here, and no more: the worker sees what the door saw.
        if (kept := kept_lines(message.received)) is not message.received:
            message = message._replace(received=kept)
        try:
            detection = detect(message.received, client.helo, client.source_ip, is_dated=False)
        except MalformedError:
            detection = None
        decision = Decision(Action.ACCEPT, Cause.MALFORMED)
        is_new = True
        if detection is None:
            self._findings.forget(client_key)
        else:
            key = ServerKey(connector.tenant_id, detection.server)
            verdict, decision = decide_by(self._verdicts.find, key, detection, self._trust(now), now)
            is_passing = passing_cause(detection, None if verdict is None else verdict.required_build) is not None
            is_refused = decision.action is not Action.ACCEPT
            finding = ClientFinding(key, now, is_passing, detection.build)
            is_new = self._findings.add(client_key, finding, is_refused=is_refused)
        # Where mail is only reported, nothing happens to it, whatever was decided.
        action = decision.action if self._is_enforcing else Action.ACCEPT
        refused = self._spool.refused(client_key)
        event = self._event(client, connector, message, action, now, refused)
        is_eventful = is_new or action is not Action.ACCEPT or refused > 0
        spooled = SpooledEvent(connector.tenant_id, event.event_id, is_eventful, self._encode(event))
        self._hold(_Held(spooled, decision, began), client_key if refused else None)
        event_id = event.event_id
        reply = decision.reply if self._is_enforcing else None
        return Answer(reply, decision, event_id, self._header(detection, decision, event_id))

    def _trust(self, now: int) -> Trust:
        return trust_in(self._verdicts.knowledge, now, self._limits)

    def _event(
        self, client: Client, connector: Connector, message: Message, action: Action, now: int, refused: int
    ) -> InboundConnection:
        named = f"connection/{self._host}/{message.queue_id}/{now}"
        return InboundConnection(
            stable_id(named) if message.queue_id else _random_id(),
            now,
            connector.tenant_id,
            connector.connector_id,
            connector.type,
            client.source_ip,
            cut(client.helo),
            message.received,
            None if client.tls_subject is None else cut(client.tls_subject),
            None if message.message_id is None else cut(message.message_id),
            OUTCOMES[action],
            message.recipients,
            refused_before=refused,
        )

    def _hold(self, held: _Held, counted: bytes | None) -> None:
        """Keep an event for `store_events`; one that tells what was counted for a client is stored at once."""
        if counted is None:
            self._held.append(held)
            if len(self._held) >= MAX_HELD:
                self.store_events()
            return
        self.store_events()
        # Another message of this client must not tell the same again.
        if not self._spool.append(held.event, counted):
            self._telemetry.event_lost(held.event.tenant_id, held.event.event_id)
        self._telemetry.answered(MESSAGE, held.decision, time.perf_counter() - held.began)

    def _header(self, detection: Detection | None, decision: Decision, event_id: str) -> str | None:
        if not self._adds_header or detection is None:
            return None
        build = detection.build or "unknown"
        return f"action={decision.action.value}; cause={decision.cause.name}; build={build}; event={event_id}"


def _client_key(client: Client, connector: Connector) -> bytes:
    """The key of a client's findings and counts."""
    parts = (connector.tenant_id, connector.connector_id, client.source_ip, cut(client.helo))
    key = "\0".join(parts).encode(errors="replace")
    # Many keys are in memory, and no client may choose how much of it its own takes.
    return key if len(key) <= MAX_CLIENT_KEY_BYTES else hashlib.sha256(key).digest()


def _random_id() -> str:
    return uuid_of(os.urandom(16).hex(), 4)
