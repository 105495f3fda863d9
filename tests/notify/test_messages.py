"""What is of one message alone: it waits by itself, and the others go on; and how many are taken at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.notices.destinations import send_test
from streams.notices.model import Destination, Message, Outcome, OutcomeKind
from streams.notices.tables import DESTINATION, LANE, MESSAGE, NEVER
from streams.notify.claiming import MOST_MESSAGES
from streams.notify.contents import find_contents
from streams.notify.lanes import Lanes
from streams.notify.packing import BUSY_WAIT_MS, IDLE_WAIT_MS, MOST_SHOWN
from streams.notify.retrying import FAULT_FOR_MS, PARKED_AFTER_MS, REFUSED_FOR_MS
from tests.support.channels import DELIVERED, FAILED, REFUSED
from tests.support.notices import notice, rows_of
from tests.support.notify_site import Site, ignore, states

FAULT = Outcome(OutcomeKind.FAULT, None, "ZeroDivisionError: a fault of ours")


def only_first(outcome: Outcome) -> Callable[[Destination, Message], Outcome]:
    """Answers so to the first notice, and takes all others."""

    def answer(_: Destination, message: Message) -> Outcome:
        is_first = any(record["notification_id"] == "n1" for record in message.notices)
        return outcome if is_first else DELIVERED

    return answer


@pytest.mark.parametrize(("outcome", "patience"), [(REFUSED, REFUSED_FOR_MS), (FAULT, FAULT_FOR_MS)])
def test_what_is_of_one_message_holds_up_no_other(site: Site, outcome: Outcome, patience: int) -> None:
    site.channel.answer = only_first(outcome)
    site.record(notice(1), notice(2))
    site.deliver(after=BUSY_WAIT_MS)
    site.record(notice(3))
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n1"], ["n2"], ["n3"]]
    assert states(site.database) == {"PACKED": 1, "SENT": 2}
    (lane,) = rows_of(site.database, LANE)
    assert (lane["failures"], lane["failing_since"]) == (0, None)
    begun = site.clock.at
    given_up: list[tuple[Destination, str, str]] = []
    while not given_up:
        given_up = site.deliver(after=HOUR_MS).given_up
    assert patience - 2 * HOUR_MS <= site.clock.at - begun <= patience + DAY_MS
    assert states(site.database) == {"GIVEN_UP": 1, "SENT": 2}
    ((_, message_id, why),) = given_up
    assert (message_id, why) == (site.channel.sent[0].message.message_id, outcome.why)
    assert len({one.message.message_id for one in site.channel.sent if one.ids == ["n1"]}) == 1
    (lane,) = rows_of(site.database, LANE)
    assert lane["due_at"] == NEVER
    assert rows_of(site.database, DESTINATION)[0]["state"] == "ACTIVE"


@pytest.mark.parametrize("outcome", [REFUSED, FAULT])
def test_what_is_of_one_message_goes_when_it_is_taken(site: Site, outcome: Outcome) -> None:
    site.channel.answer = only_first(outcome)
    site.record(notice(1), notice(2))
    site.deliver(after=BUSY_WAIT_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.deliver(after=MINUTE_MS)
    assert [(one.ids, one.message.attempt) for one in site.channel.sent] == [(["n1"], 1), (["n2"], 1), (["n1"], 2)]
    assert states(site.database) == {"SENT": 2}


def test_days_of_our_faults_are_none_in_which_a_destination_failed(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    site.channel.answer = lambda _, __: FAULT
    for _ in range(PARKED_AFTER_MS // HOUR_MS):
        assert site.deliver(after=HOUR_MS).parked == []
    site.channel.answer = lambda _, __: FAILED
    failed_at = site.clock.at
    while not site.deliver(after=HOUR_MS).parked:
        assert site.clock.at < failed_at + PARKED_AFTER_MS + 2 * DAY_MS
    assert site.clock.at - failed_at >= PARKED_AFTER_MS


def test_a_test_has_what_failed_tried_at_once(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1), notice(2))
    for _ in range(5):
        site.deliver(after=HOUR_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.channel.sent.clear()
    with site.database.writing() as connection:
        destination = rows_of(site.database, DESTINATION)[0]["destination_id"]
        send_test(connection, "contoso", destination, site.clock.at)
    site.deliver()
    assert [one.ids for one in site.channel.sent] == [[], ["n1"], ["n2"]]


def test_no_more_messages_are_taken_than_may_be_sent(site: Site) -> None:
    lanes = Lanes(site.database, "one", 10_000, site.clock, lambda: 0.5, ignore)
    site.lanes = lanes
    count = 2 * MOST_MESSAGES + 10
    site.record(*(notice(number) for number in range(count)))
    (claim,) = site.deliver_nothing(after=BUSY_WAIT_MS)
    assert len(claim.messages) == MOST_MESSAGES
    site.send([claim])
    site.deliver()
    assert [one.ids for one in site.channel.sent] == [[f"n{number}"] for number in range(count)]


def test_of_a_storm_only_what_is_shown_is_read(site: Site) -> None:
    count = MOST_SHOWN + 30
    site.record(*(notice(number, severity="CRITICAL" if number > count - 3 else "INFO") for number in range(count)))
    (claim,) = site.deliver_nothing(after=BUSY_WAIT_MS)
    (message,) = claim.messages
    shown = [record["notification_id"] for record in message.notices]
    assert shown == [f"n{number}" for number in (*range(MOST_SHOWN - 2), count - 2, count - 1)]
    assert message.omitted == 30
    assert len(claim.came_at[message.message_id]) == count
    with site.database.writing() as connection:
        (contents,) = find_contents(connection, rows_of(site.database, MESSAGE)[-1:]).values()
    assert (len(contents.held), len(contents.written_at)) == (MOST_SHOWN, count)
