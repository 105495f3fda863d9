"""The verifier of the edge finds what it is there to find: each thing that is promised, broken once, is enough."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from streams.domain.ids import stable_id
from streams.kafka.partitioner import kafka_partition
from tests.chaos.edge.expected import LOOK_MS, Limits
from tests.chaos.edge.log import MAIL, MESSAGE, Sample, Sent, Span, Written, message_id
from tests.chaos.edge.population import Sender, senders, verdict_record
from tests.chaos.edge.verifier import OUTCOMES, Run, action_of, compare

HOUR_MS = 3_600_000
START = 1_800_000_000_000
PARTITIONS = 3
BY_KIND = {sender.kind: sender for sender in senders()}
BLOCK = "550 5.7.230 Connecting Exchange server version is out-of-date; blocked for 60 mins/hr."
THROTTLE = "450 4.7.230 Connecting Exchange server version is out-of-date; throttled for 60 mins/hr."
REPLIES = {"blocked": BLOCK, "throttled": THROTTLE}


def sent_by(sender: Sender, number: int, at: int, reply: str | None, moment: str | None = MESSAGE) -> Sent:
    return Sent(f"Q{number:03d}", sender.key, at, at + 2, moment, reply, 0.002)


def event_of(item: Sent, **changes: Any) -> dict[str, Any]:
    sender = next(one for one in senders() if one.key == item.key)
    return {
        "event_id": stable_id(f"connection/edge1/{item.queue_id}/{item.sent_at + 1}"),
        "observed_at": item.sent_at + 1,
        "tenant_id": sender.tenant,
        "connector_id": "c1",
        "source_ip": sender.address,
        "helo": sender.server,
        "received": [sender.line],
        "recipients": 1,
        "message_id": message_id(item.queue_id),
        "outcome": OUTCOMES[action_of(item)],
        "refused_before": 0,
        "partition": kafka_partition(sender.tenant.encode(), PARTITIONS),
        **changes,
    }


def sound() -> Run:
    """A run without a fault: one message each of four kinds, and one that is answered at MAIL and told of later."""
    run = Run("edge1", PARTITIONS, Limits(24 * HOUR_MS, 72 * HOUR_MS))
    kinds = ("blocked", "throttled", "compliant", "patched")
    run.written = [
        Written(BY_KIND[kind].key, 1, verdict_record(BY_KIND[kind]), START - 10_000, START - 9_000) for kind in kinds
    ]
    revisions = {BY_KIND[kind].key: 1 for kind in kinds}
    run.samples = [
        Sample(START - 9_500 + 500 * n, START - 9_100 + 500 * n, START - 9_500, revisions) for n in range(99)
    ]
    run.sent = [
        sent_by(BY_KIND[kind], number, START + 100 * number, REPLIES.get(kind))
        for number, kind in enumerate((*kinds, "unknown"))
    ]
    run.events = [event_of(item) for item in run.sent]
    early, later = (sent_by(BY_KIND["blocked"], number, START + 1000 + number, BLOCK) for number in (10, 11))
    run.sent += [early._replace(moment=MAIL), later]
    run.events.append(event_of(later, refused_before=1))
    return run


def findings(spoil: Callable[[Run], object]) -> list[str]:
    run = copy.deepcopy(sound())
    spoil(run)
    return compare(run)


def change(run: Run, number: int, **changes: Any) -> None:
    run.sent[number] = run.sent[number]._replace(**changes)


def test_a_sound_run_gives_no_finding() -> None:
    assert findings(lambda _: None) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: change(run, 4, more=1), "answered 2 times"),
        (lambda run: change(run, 4, moment=None), "not answered by a door that lives"),
        (lambda run: run.sent.append(run.sent[4]), "in the log more than once"),
        (lambda run: change(run, 4, waited=2.5, stalled=0.4), "waited 2.5 s"),
        (lambda run: change(run, 4, reply=BLOCK), "answered otherwise"),
        (lambda run: change(run, 0, reply=None), "answered otherwise"),
        (lambda run: change(run, 0, reply=THROTTLE), "answered otherwise"),
        (lambda run: change(run, 0, reply=BLOCK.replace("60", "59")), "answered otherwise"),
        (lambda run: change(run, 1, reply=BLOCK), "answered otherwise"),
        (lambda run: change(run, 2, reply=THROTTLE), "answered otherwise"),
        (lambda run: change(run, 3, reply=BLOCK), "refused in spite of its stamp"),
        (lambda run: change(run, 5, reply=None), "accepted without being seen"),
        (lambda run: run.events.pop(0), "1 answered messages have no event, 0 were counted"),
        (lambda run: run.events.append(event_of(sent_by(BY_KIND["unknown"], 99, START, None))), "event of no message"),
        (lambda run: run.events[0].update(event_id="other"), "event_id"),
        (lambda run: run.events.append({**run.events[0], "event_id": "other"}), "told in two ways"),
        (lambda run: run.events[0].update(outcome="ACCEPTED"), "outcome"),
        (lambda run: run.events[0].update(tenant_id="adatum"), "tenant_id"),
        (lambda run: run.events[0].update(partition=7), "partition"),
        (lambda run: run.events[0].update(received=[]), "received"),
        (lambda run: run.events[0].update(observed_at=START + 5), "observed_at"),
        (lambda run: run.events.append(event_of(run.sent[5])), "answered without headers"),
        (lambda run: run.events[-1].update(refused_before=0), "1 answers at MAIL, 0 messages without an answer, but 0"),
        (lambda run: run.events[-1].update(refused_before=2), "1 answers at MAIL, 0 messages without an answer, but 2"),
    ],
)  # fmt: skip
def test_each_fault_is_found(spoil: Callable[[Run], object], said: str) -> None:
    found = findings(spoil)
    assert any(said in finding for finding in found), found


def test_an_event_may_come_again_as_it_was() -> None:
    assert findings(lambda run: run.events.append(run.events[0])) == []


def test_a_message_that_no_door_answered_may_have_an_event_or_none() -> None:
    def spoil(run: Run) -> None:
        change(run, 4, moment=None)
        change(run, 3, moment=None)
        run.events.pop(3)
        run.dead.append(Span(START + 300, START + 500))

    assert findings(spoil) == []


def test_what_is_counted_as_given_up_must_be_missing() -> None:
    def spoil(run: Run) -> None:
        run.dropped = (1, 1)

    assert "0 answered messages have no event, 1 were counted" in findings(spoil)[0]

    def lose(run: Run) -> None:
        spoil(run)
        run.events.pop(0)

    assert findings(lose) == []


def test_a_message_may_wait_as_much_longer_as_the_machine_stands_still() -> None:
    for stalls, is_right in (
        ([Span(START - 9_000, START + 900)], True),
        ([Span(START + 100, START + 500), Span(START + 300, START + 700), Span(START + 5_000, START + 9_000)], True),
        ([Span(START + 100, START + 500), Span(START + 300, START + 590)], False),
        ([], False),
    ):
        run = sound()
        run.sent[4] = run.sent[4]._replace(sent_at=START, answered_at=START + 2_500, waited=2.5)
        run.events[4] = event_of(run.sent[4])
        run.stalls = stalls
        assert (compare(run) == []) == is_right, stalls


def test_a_door_may_look_as_much_later_as_the_machine_stands_still() -> None:
    for stalled_ms, is_right in ((900, True), (899, False)):
        run = sound()
        only(run, "blocked", THROTTLE)  # right only by a confirmation that was replaced 4.9 s ago
        run.samples = [
            Sample(START - 9_500, START - 5_001, START - 25 * HOUR_MS, run.samples[0].revisions),
            Sample(START - 4_900, START + 5_000, START - 5_000, run.samples[0].revisions),
        ]
        run.stalls = [Span(START - 3_000, START - 3_000 + stalled_ms)]
        assert (compare(run) == []) == is_right, stalled_ms


def test_what_a_damaged_spool_held_may_be_lost() -> None:
    def spoil(run: Run) -> None:
        run.events.pop(0)
        run.lossy.append(Span(START - 5, START + 5))

    assert findings(spoil) == []


def confirmed(run: Run, at: int | None) -> None:
    run.samples = [sample._replace(confirmed_at=at) for sample in run.samples]


def only(run: Run, kind: str, reply: str | None) -> None:
    run.sent = [sent_by(BY_KIND[kind], 0, START, reply)]
    run.events = [event_of(run.sent[0])]


AGED = THROTTLE


@pytest.mark.parametrize(
    ("age", "right"),
    [(HOUR_MS, BLOCK), (25 * HOUR_MS, AGED), (73 * HOUR_MS, None), (None, None)],
)
def test_what_is_known_is_believed_for_as_long_as_it_is_written(age: int | None, right: str | None) -> None:
    for reply in (BLOCK, AGED, None):
        run = sound()
        only(run, "blocked", reply)
        confirmed(run, None if age is None else START - age)
        assert (compare(run) == []) == (reply == right)


def test_a_verdict_counts_from_its_writing_and_until_the_next_one_is_on_disk() -> None:
    key = BY_KIND["blocked"].key
    pause = verdict_record(BY_KIND["blocked"], 2, paused_until=START + HOUR_MS)
    for written_at, seen_at, right in (
        (START + 50, None, {BLOCK}),
        (START - 50, None, {BLOCK, None}),
        (START - 50, START + 50, {BLOCK, None}),
        (START - 9_000, START - 50, {None}),
    ):
        for reply in (BLOCK, None):
            run = sound()
            only(run, "blocked", reply)
            run.written.append(Written(key, 2, pause, written_at, seen_at))
            assert (compare(run) == []) == (reply in right), (written_at, seen_at, reply)


def test_mail_may_be_accepted_while_the_verdicts_are_damaged_and_a_moment_longer() -> None:
    for end, is_right in ((START - LOOK_MS, True), (START - LOOK_MS - 1, False)):
        run = sound()
        only(run, "blocked", None)
        run.excused.append(Span(START - 60_000, end))
        assert (compare(run) == []) == is_right


def test_a_door_that_runs_may_go_on_with_what_it_read_before_the_damage() -> None:
    damaged_at = START - LOOK_MS - 3_000
    for excused, is_right in (([Span(damaged_at, START + 5_000)], True), ([], False)):
        run = sound()
        run.samples = [
            sample if sample.ended < damaged_at else sample._replace(confirmed_at=None, revisions={})
            for sample in run.samples
        ]
        run.excused += excused
        assert (compare(run) == []) == is_right


def test_mail_may_be_accepted_where_the_disk_had_no_verdict() -> None:
    run = sound()
    only(run, "blocked", None)
    run.samples = [sample._replace(revisions={}) for sample in run.samples]
    assert compare(run) == []


def test_a_stage_of_the_schedule_begins_on_time() -> None:
    stage = {"stage": 8, "starts_at": START + 1, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 60}
    record = verdict_record(BY_KIND["compliant"], schedule=[stage])
    for at, right in ((START - 100, None), (START + 100, BLOCK)):
        for reply in (None, BLOCK):
            run = sound()
            run.sent = [sent_by(BY_KIND["compliant"], 0, at, reply)]
            run.events = [event_of(run.sent[0])]
            run.written = [Written(BY_KIND["compliant"].key, 1, record, START - 10_000, START - 9_000)]
            assert (compare(run) == []) == (reply == right)
