"""Compares what an edge answered and told with what it knew: every message once, every event, nothing wrong or late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.domain.ids import stable_id
from streams.kafka.partitioner import kafka_partition
from tests.chaos.edge.expected import LOOK_MS, Knowledge, Limits
from tests.chaos.edge.log import MAIL, MESSAGE, Sample, Sent, Span, Written, queue_id_of
from tests.chaos.edge.population import senders
from tests.chaos.edge.stalls import overlap_ms

LATE_SECONDS: Final = 2.0
"""Behind this an MTA accepts by itself."""
SHOWN: Final = 5
OUTCOMES: Final = {"ACCEPT": "ACCEPTED", "THROTTLE": "DEFERRED", "BLOCK": "REJECTED"}
CODES: Final = {"450": "THROTTLE", "550": "BLOCK"}

Event = dict[str, Any]
"""A connection as its topic has it, with the `partition` that it stands in."""


@dataclass(slots=True)
class Run:
    """What is left of a run.

    `dead` are the times in which no door lived, `excused` those in which its verdicts were damaged, `lossy` those of
    which the spool was damaged, `stalls` those in which the machine stood still. `dropped` is how many other events
    were given up by the counters of the door: at least and at most, where some may have been given up that Kafka had
    already. `refused_left` has the answers without an event that no event has told of yet, by server; None where they
    were lost with a spool.
    """

    host: str
    partitions: int
    limits: Limits
    sent: list[Sent] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    dead: list[Span] = field(default_factory=list)
    excused: list[Span] = field(default_factory=list)
    lossy: list[Span] = field(default_factory=list)
    stalls: list[Span] = field(default_factory=list)
    dropped: tuple[int, int] = (0, 0)
    refused_left: Mapping[str, int] | None = field(default_factory=dict)


def compare(run: Run) -> list[str]:
    """Every difference from what is promised."""
    return [*_answers(run), *_waits(run), *_actions(run), *_events(run), *_completeness(run), *_refused(run)]


def counts(run: Run) -> dict[str, int]:
    """What a run came to."""
    actions = Counter(action_of(item) for item in run.sent if item.moment is not None)
    return {
        "messages": len(run.sent),
        "accepted": actions["ACCEPT"],
        "delayed": actions["THROTTLE"],
        "refused": actions["BLOCK"],
        "answered at MAIL": sum(item.moment == MAIL for item in run.sent),
        "unanswered": sum(item.moment is None for item in run.sent),
        "events": len({event["event_id"] for event in run.events}),
        "events told again": len(run.events) - len({event["event_id"] for event in run.events}),
        "dropped": run.dropped[1],
        "slowest answer, ms": round(1000 * max((item.waited - item.stalled for item in run.sent), default=0)),
    }


def action_of(sent: Sent) -> str:
    """What was done with an answered message."""
    return "ACCEPT" if sent.reply is None else CODES.get(sent.reply[:3], "?")


def _answers(run: Run) -> list[str]:
    """Exactly one for each message, and none only where nobody was there to give it."""
    findings = _some(f"answered {1 + item.more} times: {item}" for item in run.sent if item.more)
    findings += _some(
        f"not answered by a door that lives: {item}"
        for item in run.sent
        if item.moment is None and not any(span.meets(item.sent_at, item.answered_at) for span in run.dead)
    )
    again = [queue_id for queue_id, count in Counter(item.queue_id for item in run.sent).items() if count > 1]
    return findings + _some(f"in the log more than once: {queue_id}" for queue_id in again)


def _waits(run: Run) -> list[str]:
    """None that is too long by more than sender or machine stood still meanwhile."""
    late = []
    for item in run.sent:
        if item.moment is None or item.waited <= LATE_SECONDS:
            continue
        machine = overlap_ms(run.stalls, item.sent_at, item.answered_at) / 1000
        if item.waited - max(item.stalled, machine) > LATE_SECONDS:
            stood = f"the sender stood still for {item.stalled:.1f}, the machine for {machine:.1f}"
            late.append(f"waited {item.waited:.1f} s, of which {stood}: {item}")
    return _some(late)


def _actions(run: Run) -> list[str]:
    """No answer contradicts what was known; what its own stamp lets in is never refused."""
    knowledge = Knowledge(run.written, run.samples, run.limits, run.excused)
    passing = {sender.key for sender in senders() if sender.passes}
    wrong = []
    for item in run.sent:
        if item.moment is None:
            continue
        if item.moment == MAIL and item.reply is None:
            wrong.append(f"accepted without being seen: {item}")
        elif item.key in passing:
            if item.reply is not None:
                wrong.append(f"refused in spite of its stamp: {item}")
        elif (given := (action_of(item), item.reply)) not in knowledge.answers(item):
            stood = overlap_ms(run.stalls, item.sent_at - 2 * LOOK_MS, item.answered_at)
            if given in (right := knowledge.answers(item, LOOK_MS + stood)):
                continue
            wrong.append(f"answered otherwise than one of {sorted(map(str, right))}: {item}")
    return _some(wrong)


def _events(run: Run) -> list[str]:
    """Each event is of a message, as it was, in its partition, and always the same."""
    sent = {item.queue_id: item for item in run.sent}
    by_key = {sender.key: sender for sender in senders()}
    seen: dict[str, Event] = {}
    wrong = []
    for event in run.events:
        queue_id = queue_id_of(event["message_id"])
        item = sent.get(queue_id)
        if item is None:
            wrong.append(f"an event of no message: {event}")
            continue
        if event != seen.setdefault(queue_id, event):
            wrong.append(f"told in two ways: {event}, and before {seen[queue_id]}")
        sender = by_key[item.key]
        wanted = {
            "event_id": stable_id(f"connection/{run.host}/{queue_id}/{event['observed_at']}"),
            "tenant_id": sender.tenant,
            "connector_id": "c1",
            "source_ip": sender.address,
            "helo": sender.server,
            "received": [sender.line],
            "recipients": 1,
            "partition": kafka_partition(sender.tenant.encode(), run.partitions),
        }
        if item.moment is not None:
            wanted["outcome"] = OUTCOMES.get(action_of(item))
        differing = {name: (event.get(name), value) for name, value in wanted.items() if event.get(name) != value}
        if not item.sent_at <= event["observed_at"] <= item.answered_at:
            differing["observed_at"] = (event["observed_at"], item.sent_at)
        if differing:
            wrong.append(f"an event with {differing} (is, must be): {item}")
        if item.moment == MAIL:
            wrong.append(f"an event of what was answered without headers: {item}")
    return _some(wrong)


def _completeness(run: Run) -> list[str]:
    """Every answered message has its event, but for those that were counted as given up."""
    told = {queue_id_of(event["message_id"]) for event in run.events}
    missing = [
        item
        for item in run.sent
        if item.moment == MESSAGE
        and item.queue_id not in told
        and not any(span.meets(item.sent_at, item.answered_at) for span in run.lossy)
    ]
    least, most = run.dropped
    if least <= len(missing) <= most:
        return []
    wanted = str(least) if least == most else f"{least} to {most}"
    return [f"{len(missing)} answered messages have no event, {wanted} were counted: {missing[:SHOWN]}"]


def _refused(run: Run) -> list[str]:
    """Every answer at MAIL is counted once, in the next event of its client."""
    if run.refused_left is None or run.dropped[1] or run.lossy:
        return []
    told: Counter[str] = Counter()
    for event in {event["event_id"]: event for event in run.events}.values():
        told[f"{event['tenant_id']}/{event['helo']}"] += event["refused_before"]
    wrong = []
    for key in {item.key for item in run.sent}:
        given = sum(item.moment == MAIL for item in run.sent if item.key == key)
        # A door that was killed may have counted what it did not come to answer.
        cut = sum(item.moment is None for item in run.sent if item.key == key)
        found = told[key] + run.refused_left.get(key, 0)
        if not given <= found <= given + cut:
            wrong.append(f"{key}: {given} answers at MAIL, {cut} messages without an answer, but {found} counted")
    return _some(wrong)


def _some(findings: Iterable[str]) -> list[str]:
    found = [finding[:600] for finding in findings]
    more = [f"and {len(found) - SHOWN} more such: {found[SHOWN][:60]}"] if len(found) > SHOWN else []
    return found[:SHOWN] + more
