"""The door: every message has one answer and one event, and nothing that fails here stops mail."""

from __future__ import annotations

import pytest

from streams.domain.edge import Cause, Knowledge
from streams.domain.exchange.build import parse_build
from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import Action
from streams.domain.server.connection import Outcome
from streams.domain.time import DAY_MS, MINUTE_MS
from streams.edge.client import ACCEPTED, Answer, Client, Message
from streams.edge.deciding import MAX_RECEIVED_CHARS, kept_lines
from streams.edge.door import MAX_HELD
from streams.edge.findings import Findings
from tests.support.door import CONNECTOR, NOW, Doorway, standing_verdict

HOST, OLD, GOOD = "mx1.example.com", "15.1.2507.39", "15.1.2507.61"
CLIENT = Client("192.0.2.1", HOST)


def message(build: str = OLD, host: str = HOST, queue_id: str | None = None) -> Message:
    line = f"from a by {host} (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026 00:00:00 +0000"
    return Message((line,), "<m@example.com>", 2, queue_id)


def send(doorway: Doorway, sent: Message | None = None) -> Answer:
    """As an MTA does: at MAIL, and at the end of the headers where MAIL had no answer."""
    early = doorway.door.answer_mail(CLIENT, CONNECTOR)
    return early or doorway.door.answer_message(CLIENT, CONNECTOR, sent or message())


def blocked(**options: bool) -> Doorway:
    doorway = Doorway(**options)
    doorway.verdicts.put(standing_verdict(HOST, required_build=parse_build(GOOD)))
    return doorway


def test_a_message_is_told_with_what_was_done() -> None:
    doorway = blocked()
    answer = send(doorway, message(queue_id="4XyZ"))
    assert (answer.reply, answer.decision and answer.decision.cause) == ("550 5.7.230 no", Cause.BLOCKED)
    (event,) = doorway.told
    assert event.event_id == answer.event_id == doorway.spool.events[0].event_id
    assert (event.tenant_id, event.connector_id, event.source_ip, event.helo) == ("contoso", "c1", "192.0.2.1", HOST)
    assert (event.outcome, event.recipients, event.message_id) == (Outcome.REJECTED, 2, "<m@example.com>")
    assert event.observed_at == NOW


def test_the_same_message_has_the_same_event_id_and_another_one_has_not() -> None:
    ids = [send(Doorway(), message(queue_id=name)).event_id for name in ("A", "A", "B", None, None)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("before", [None, "15.1.2507.62"])
def test_a_stamp_that_only_a_later_verdict_accepts_is_not_answered_early(before: str | None) -> None:
    doorway = Doorway()
    if before is not None:
        doorway.verdicts.put(standing_verdict(HOST, required_build=parse_build(before)))
    for _ in range(3):
        send(doorway, message(GOOD))
    doorway.verdicts.put(standing_verdict(HOST, revision=2, required_build=parse_build(GOOD)))
    assert send(doorway, message(GOOD)).reply is None


def test_a_client_is_answered_early_after_three_messages_of_one_server() -> None:
    doorway = blocked()
    for _ in range(5):
        assert send(doorway).reply == "550 5.7.230 no"
    assert [moment for moment, _ in doorway.telemetry.answers] == ["message"] * 3 + ["mail"] * 2
    assert len(doorway.told) == 3


def test_a_client_that_was_let_in_is_first_refused_behind_its_headers() -> None:
    doorway = blocked()
    accepting = standing_verdict(HOST, block_minutes_per_hour=0)
    doorway.verdicts.put(accepting)
    for _ in range(4):
        assert send(doorway).reply is None
    doorway.verdicts.put(standing_verdict(HOST))
    for _ in range(2):
        assert send(doorway).reply == "550 5.7.230 no"
    assert [moment for moment, _ in doorway.telemetry.answers] == ["message"] * 5 + ["mail"]
    doorway.verdicts.put(accepting)
    assert send(doorway).reply is None


def test_what_was_answered_early_goes_out_with_the_next_event() -> None:
    doorway = blocked()
    for _ in range(7):
        send(doorway)
    doorway.now += 5 * MINUTE_MS
    send(doorway)
    send(doorway)
    assert [event.refused_before for event in doorway.told] == [0, 0, 0, 4]
    doorway.now += 5 * MINUTE_MS
    send(doorway)
    assert doorway.told[-1].refused_before == 1


def test_what_is_decided_together_is_told_before_it_may_be_answered() -> None:
    doorway = blocked()
    answers = [doorway.door.decide_message(CLIENT, CONNECTOR, message()) for _ in range(3)]
    assert (doorway.spool.events, doorway.telemetry.answers) == ([], [])
    doorway.door.store_events()
    assert [event.event_id for event in doorway.spool.events] == [answer.event_id for answer in answers]
    assert [moment for moment, _ in doorway.telemetry.answers] == ["message"] * 3
    doorway.door.store_events()
    assert len(doorway.spool.events) == 3


def test_what_was_answered_early_goes_out_once_with_messages_that_come_together() -> None:
    doorway = blocked()
    for _ in range(7):
        send(doorway)
    doorway.now += 5 * MINUTE_MS
    for _ in range(3):
        doorway.door.decide_message(CLIENT, CONNECTOR, message())
    doorway.door.store_events()
    assert [event.refused_before for event in doorway.told] == [0, 0, 0, 4, 0, 0]


def test_messages_that_come_together_are_bounded() -> None:
    doorway = blocked()
    for _ in range(MAX_HELD + 1):
        doorway.door.decide_message(CLIENT, CONNECTOR, message())
    assert len(doorway.spool.events) == MAX_HELD


def test_events_of_messages_that_come_together_are_lost_on_a_full_disk_and_mail_goes_on() -> None:
    doorway = blocked()
    doorway.spool.is_full = True
    answers = [doorway.door.decide_message(CLIENT, CONNECTOR, message()) for _ in range(2)]
    doorway.door.store_events()
    assert doorway.telemetry.lost == [answer.event_id for answer in answers]
    assert [answer.reply for answer in answers] == ["550 5.7.230 no"] * 2


def test_a_patched_server_shows_itself_within_the_probe_window_and_is_let_in() -> None:
    doorway = blocked()
    for _ in range(4):
        send(doorway)
    doorway.now += 5 * MINUTE_MS
    answer = send(doorway, message(GOOD))
    assert (answer.reply, doorway.told[-1].outcome) == (None, Outcome.ACCEPTED)
    assert send(doorway, message(GOOD)).reply is None
    assert send(doorway, message(OLD)).reply == "550 5.7.230 no"


def test_another_server_behind_the_same_address_ends_early_answers() -> None:
    doorway = blocked()
    for _ in range(3):
        send(doorway)
    doorway.now += 5 * MINUTE_MS
    send(doorway, message(host="mx2.example.com"))
    assert send(doorway, message(host="mx2.example.com")).reply is None
    assert doorway.telemetry.answers[-1][0] == "message"


def test_a_mixed_server_has_no_early_answer() -> None:
    doorway = Doorway()
    doorway.verdicts.put(standing_verdict(HOST, is_mixed=True, required_build=parse_build(GOOD)))
    assert [send(doorway, message(build)).reply is None for build in (OLD, OLD, OLD, OLD, GOOD)] == [False] * 4 + [True]


def test_report_mode_accepts_everything_and_says_what_it_would_have_done() -> None:
    doorway = blocked(is_enforcing=False, adds_header=True)
    for _ in range(5):
        answer = send(doorway)
        assert answer.reply is None
    assert answer.decision is not None
    assert answer.decision.action is Action.BLOCK
    assert answer.header == f"action=BLOCK; cause=BLOCKED; build={OLD}; event={answer.event_id}"
    assert {event.outcome for event in doorway.told} == {Outcome.ACCEPTED}
    assert len(doorway.told) == 5


def test_mail_that_comes_through_no_connector_is_counted() -> None:
    doorway = Doorway()
    assert doorway.door.connector_of(CLIENT) == CONNECTOR
    doorway.connectors.connector = None
    assert doorway.door.connector_of(CLIENT) is None
    named = CLIENT._replace(connector=CONNECTOR)
    assert doorway.door.connector_of(named) == CONNECTOR
    assert doorway.telemetry.unmatched_messages == 1


@pytest.mark.parametrize(
    ("knowledge", "reply"),
    [
        (Knowledge(NOW - DAY_MS - 1), "450 4.7.230 later 60"),
        (Knowledge(NOW - 3 * DAY_MS - 1), None),
        (Knowledge(None), None),
        (Knowledge(NOW, 60_001), None),
    ],
)
def test_old_knowledge_enforces_less(knowledge: Knowledge, reply: str | None) -> None:
    doorway = blocked()
    doorway.verdicts.knowledge = knowledge
    assert {send(doorway).reply for _ in range(5)} == {reply}


def test_a_verdict_that_cannot_be_read_accepts_and_the_event_goes_out() -> None:
    doorway = blocked()
    for _ in range(3):
        send(doorway)
    doorway.verdicts.spoil(ServerKey("contoso", HOST))
    answer = send(doorway)
    assert (answer.reply, answer.decision and answer.decision.cause) == (None, Cause.UNREADABLE)
    assert (len(doorway.told), doorway.telemetry.failures) == (4, [])


def test_a_name_that_no_key_can_hold_accepts_and_the_event_goes_out_whole() -> None:
    doorway = blocked()
    answer = send(doorway, message(host=f"{'a' * 300}.example"))
    assert (answer.reply, answer.decision and answer.decision.cause) == (None, Cause.MALFORMED)
    assert "a" * 300 in doorway.told[0].received[0]


def test_a_full_disk_loses_the_event_and_not_the_mail() -> None:
    doorway = blocked()
    doorway.spool.is_full = True
    answer = send(doorway)
    assert answer.reply == "550 5.7.230 no"
    assert doorway.telemetry.lost == [answer.event_id]


def test_a_fault_of_the_door_accepts_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    doorway = blocked()
    for _ in range(3):
        send(doorway)
    fault = RuntimeError("boom")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(doorway.verdicts, "find", fail)
    monkeypatch.setattr(doorway.connectors, "find", fail)
    assert doorway.door.answer_mail(CLIENT, CONNECTOR) is None
    assert doorway.door.answer_message(CLIENT, CONNECTOR, message()) is ACCEPTED
    assert doorway.door.connector_of(CLIENT) is None
    assert doorway.telemetry.failures == [("mail", fault), ("message", fault), ("connector", fault)]


def test_only_what_tells_something_new_is_eventful() -> None:
    doorway = Doorway()
    for build in (OLD, OLD, GOOD, GOOD, OLD):
        send(doorway, message(build))
    assert [event.is_eventful for event in doorway.spool.events] == [True, False, True, False, True]
    doorway.verdicts.put(standing_verdict(HOST))
    send(doorway, message(OLD))
    assert doorway.spool.events[-1].is_eventful


def test_an_event_holds_no_more_lines_than_are_judged() -> None:
    assert kept_lines(("a" * 10_000, "b")) == ("a" * 8192, "b")
    assert len(kept_lines(("x",) * 10_000)) == 256
    assert sum(map(len, kept_lines(("x" * 8192,) * 256))) == MAX_RECEIVED_CHARS


def test_the_findings_of_clients_that_came_long_ago_go() -> None:
    doorway = Doorway()
    findings = Findings(most=2)
    send(doorway)
    finding = doorway.door._findings.of(b"\0".join([b"contoso", b"c1", b"192.0.2.1", HOST.encode()]))[-1]
    for name in (b"a", b"b", b"a", b"c"):
        findings.add(name, finding)
    assert [len(findings.of(name)) for name in (b"a", b"b", b"c")] == [2, 0, 1]


def test_a_long_greeting_takes_no_more_memory_than_a_short_one() -> None:
    doorway = Doorway()
    for helo in ("é" * 900 + "1", "é" * 900 + "2"):
        for _ in range(3):
            doorway.door.answer_message(CLIENT._replace(helo=helo), CONNECTOR, message())
    kept = doorway.door._findings._clients
    assert len(kept) == 2
    assert all(len(name) <= 200 for name in kept)
    for findings in kept.values():
        assert len({id(finding.server) for finding in findings}) == 1
