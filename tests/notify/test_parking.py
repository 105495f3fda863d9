"""What a relay answers parks a destination, or does not; nothing that waits for it is lost."""

from __future__ import annotations

import pytest

from streams.database.database import Database
from streams.domain.time import DAY_MS, HOUR_MS
from streams.notices.destinations import unpark
from streams.notices.model import Destination, Message, Outcome
from streams.notices.tables import DELIVERY, DESTINATION
from streams.notify.channels.mail import MailChannel
from streams.notify.packing import IDLE_WAIT_MS
from streams.notify.retrying import PARKED_AFTER_MS
from tests.support.channels import RecordingChannel
from tests.support.mail_relays import SENDER, Handler, relaying
from tests.support.notice_receivers import TestLinks
from tests.support.notices import add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site


class RelayedMail(RecordingChannel):
    """Mail by a relay that runs while it is used."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    async def send(self, destination: Destination, message: Message) -> Outcome:
        async with relaying(self._handler) as relay:
            channel = MailChannel(relay, SENDER, links=TestLinks())
            outcome = await channel.send(destination, message)
            await channel.close()
            return outcome


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("550 5.1.1 no such user", "PARKED"),
        ("550 5.7.1 relaying denied", "ACTIVE"),
        ("452 4.2.2 mailbox full", "ACTIVE"),
    ],
)
def test_a_recipient_that_is_refused_for_good_is_parked_at_once(database: Database, answer: str, state: str) -> None:
    made = add_destination(database)
    subscribe(database, made)
    handler = Handler(rcpt=answer)
    site = Site(database, channel=RelayedMail(handler))
    site.record(notice(1))
    site.deliver(after=HOUR_MS)
    (row,) = rows_of(database, DESTINATION)
    assert row["state"] == state
    assert [one["ended_at"] for one in rows_of(database, DELIVERY)] == [None]
    handler.answers.clear()
    if state == "PARKED":
        assert answer in row["parked_why"]
        with database.writing() as connection:
            unpark(connection, made.tenant_id, made.destination_id, site.clock.at)
    site.deliver(after=HOUR_MS)
    assert [one["state"] for one in rows_of(database, DELIVERY)] == ["SENT"]
    assert len(handler.letters) == 1


@pytest.mark.parametrize("answer", ["550 5.7.1 relaying denied", "530 5.7.0 Authentication required"])
def test_what_the_relay_has_against_us_parks_nobody(database: Database, answer: str) -> None:
    made = add_destination(database)
    subscribe(database, made)
    handler = Handler(rcpt=answer)
    site = Site(database, channel=RelayedMail(handler))
    site.record(notice(1))
    for _ in range((PARKED_AFTER_MS + DAY_MS) // (4 * HOUR_MS)):
        assert site.deliver(after=4 * HOUR_MS).parked == []
    handler.answers.clear()
    site.deliver(after=4 * HOUR_MS)
    assert [one["state"] for one in rows_of(database, DELIVERY)] == ["SENT"]


def test_a_mail_that_the_relay_refuses_holds_up_no_other(database: Database) -> None:
    subscribe(database, add_destination(database))
    handler = Handler(data="554 5.6.0 content rejected")
    site = Site(database, channel=RelayedMail(handler))
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    handler.answers.clear()
    handler.letters.clear()
    site.record(notice(2))
    site.deliver(after=IDLE_WAIT_MS)
    assert sorted(one["state"] for one in rows_of(database, DELIVERY)) == ["PACKED", "SENT"]
    assert len(handler.letters) == 1
    site.deliver(after=HOUR_MS)
    assert [one["state"] for one in rows_of(database, DELIVERY)] == ["SENT", "SENT"]
