"""Mail that comes back is taken over LMTP, and what follows from it is in the ledger."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from streams.database.database import ALL_TENANTS, Database
from streams.domain.time import DAY_MS
from streams.notices.destinations import ensure_contact, remove_destination, unpark
from streams.notices.model import Destination, DestinationKind
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, MESSAGE
from streams.notify.bounces.listener import MOST_CONNECTIONS
from streams.notify.bounces.reports import MOST_BYTES, ReportKind
from streams.settings.addresses import ListenAddress
from tests.support.bounces import DOMAIN, REFUSED, Intake, address_of, hand_in, report
from tests.support.notices import START, add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site

WHY = f"it came back: {REFUSED}"


@pytest.fixture
def intake(database: Database, tmp_path: Path) -> Intake:
    """A listener at a UNIX socket."""
    return Intake(database, ListenAddress(str(tmp_path / "lmtp.sock")))


def sent(database: Database) -> tuple[Destination, Site, str]:
    """A destination that was sent a notice; the id of the message."""
    made = add_destination(database)
    subscribe(database, made)
    site = Site(database)
    site.record(notice(1))
    site.deliver(after=1_000)
    (row,) = [row for row in rows_of(database, MESSAGE) if row["form"] == "SINGLE"]
    assert row["state"] == "SENT"
    return made, site, row["message_id"]


def test_a_mail_that_comes_back_parks_its_destination_and_its_notices_wait(database: Database, intake: Intake) -> None:
    made, site, message_id = sent(database)
    taken = intake.bounce(address_of(database, made), report(message_id=message_id))
    assert taken == (250, b"2.0.0 Ok")
    (row,) = rows_of(database, DESTINATION)
    assert (row["state"], row["parked_why"]) == ("PARKED", WHY)
    (message,) = [row for row in rows_of(database, MESSAGE) if row["form"] == "SINGLE"]
    assert (message["state"], message["last_outcome"], message["last_code"]) == ("GIVEN_UP", "GONE", 550)
    assert sorted(row["outcome"] for row in rows_of(database, ATTEMPT)) == ["DELIVERED", "GONE"]
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["WAITING"]
    assert intake.status.bounces == {ReportKind.PERMANENT: 1}
    assert intake.status.parkings == 1
    # What it told was told nobody: it goes when somebody says that the mailbox works again.
    with database.writing() as connection:
        unpark(connection, made.tenant_id, made.destination_id, site.clock.at)
    site.deliver(after=1_000)
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["SENT"]
    assert site.channel.sent[-1].ids == ["n1"]


def test_the_same_report_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    made, _, message_id = sent(database)
    address, content = address_of(database, made), report(message_id=message_id)
    intake = Intake(database, ListenAddress(None, "127.0.0.1", 0))

    def work(client: smtplib.LMTP) -> None:
        hand_in(client, address, content)
        with database.writing() as connection:
            unpark(connection, made.tenant_id, made.destination_id, START)
        assert hand_in(client, address, content)[0] == 250

    intake.during(work)
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["ACTIVE"]
    assert intake.status.parkings == 1


def test_a_bounce_may_be_faster_than_the_ledger(database: Database, intake: Intake) -> None:
    """A relay may return a mail before it is written that it took it."""
    made = add_destination(database)
    subscribe(database, made)
    site = Site(database)
    site.record(notice(1))
    site.clock.at += 1_000
    claims = site.claim()
    (message,) = claims[0].messages
    intake.bounce(address_of(database, made), report(message_id=message.message_id))
    site.send(claims)
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["PARKED"]
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["WAITING"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (report(action="delayed", status="4.4.1"), ReportKind.TEMPORARY),
        (report(status="4.4.7"), ReportKind.TEMPORARY),
        (report(action="delivered", status="2.0.0"), ReportKind.OTHER),
        (b"Subject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nback on Monday\r\n", ReportKind.OTHER),
    ],
)
def test_what_is_no_refusal_for_good_changes_nothing(
    database: Database, intake: Intake, content: bytes, kind: ReportKind
) -> None:
    made, _, _ = sent(database)
    assert intake.bounce(address_of(database, made), content)[0] == 250
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["ACTIVE"]
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["SENT"]
    assert intake.status.bounces == {kind: 1}


def test_a_report_with_a_sender_is_none(database: Database, intake: Intake) -> None:
    made, _, message_id = sent(database)
    answer = intake.bounce(address_of(database, made), report(message_id=message_id), "gone@contoso.example")
    assert answer[0] == 250
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["ACTIVE"]


def test_only_addresses_that_were_given_out_are_taken(database: Database, intake: Intake) -> None:
    made, _, message_id = sent(database)
    hook = add_destination(database, kind=DestinationKind.WEBHOOK)
    right = address_of(database, made)
    token = right.partition("+")[2].partition("@")[0]
    wrong = [
        f"bounce+{token[:-1]}{'0' if token[-1] != '0' else '1'}@{DOMAIN}",
        f"bounce+{'0' * 48}@{DOMAIN}",
        f"bounce+{token}x@{DOMAIN}",
        f"bounce@{DOMAIN}",
        f"postmaster@{DOMAIN}",
        f"bounce+{token}@elsewhere.example",
        f"other+{token}@{DOMAIN}",
        address_of(database, hook),
    ]

    def work(client: smtplib.LMTP) -> list[tuple[int, bytes]]:
        client.ehlo_or_helo_if_needed()
        return [hand_in(client, one, report(message_id=message_id)) for one in wrong]

    assert {code for code, _ in intake.during(work)} == {550}
    assert intake.status.stray_bounces == len(wrong)
    assert {row["state"] for row in rows_of(database, DESTINATION)} == {"ACTIVE"}
    assert not intake.status.bounces


def test_one_connection_brings_several_and_a_transaction_one(database: Database, intake: Intake) -> None:
    made, _, _ = sent(database)
    with database.writing() as connection:
        contact = ensure_contact(connection, "contoso", "contact@contoso.example", START)
    first, second = (address_of(database, one) for one in (made, contact))

    def work(client: smtplib.LMTP) -> None:
        client.ehlo_or_helo_if_needed()
        client.mail("")
        assert client.rcpt(first)[0] == 250
        assert client.rcpt(second)[0] == 452
        assert client.data(report())[0] == 250
        # An MTA may write it in whatever case.
        assert hand_in(client, second.upper(), report())[0] == 250

    intake.during(work)
    assert {row["state"] for row in rows_of(database, DESTINATION)} == {"PARKED"}


def test_a_question_that_comes_back_is_over_and_one_to_a_removed_destination_is_nothing(
    database: Database, intake: Intake
) -> None:
    asked = add_destination(database, is_confirmed=False)
    gone = add_destination(database, address="gone@contoso.example")
    with database.writing() as connection:
        remove_destination(connection, "contoso", gone.destination_id, "removed", START)
    (question,) = [row for row in rows_of(database, MESSAGE) if row["destination_id"] == asked.destination_id]

    def work(client: smtplib.LMTP) -> None:
        assert hand_in(client, address_of(database, asked), report(message_id=question["message_id"]))[0] == 250
        assert hand_in(client, address_of(database, gone), report())[0] == 250

    intake.during(work)
    states = {row["destination_id"]: row["state"] for row in rows_of(database, DESTINATION)}
    assert states == {asked.destination_id: "UNCONFIRMED", gone.destination_id: "REMOVED"}
    (question,) = [row for row in rows_of(database, MESSAGE) if row["destination_id"] == asked.destination_id]
    assert (question["state"], question["last_why"]) == ("GIVEN_UP", WHY)
    assert intake.status.parkings == 0


def test_nobody_else_s_message_is_touched(database: Database, intake: Intake) -> None:
    """Whoever has a token of their own can name any message in a report."""
    made, _, message_id = sent(database)
    other = add_destination(database, "fabrikam")
    intake.bounce(address_of(database, other), report(message_id=message_id))
    states = {row["tenant_id"]: row["state"] for row in rows_of(database, DESTINATION)}
    assert states == {"contoso": "ACTIVE", "fabrikam": "PARKED"}
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["SENT"]
    assert made.tenant_id == "contoso"


def test_what_is_too_long_is_refused_and_the_connection_goes_on(database: Database, intake: Intake) -> None:
    made, _, _ = sent(database)
    address = address_of(database, made)

    def work(client: smtplib.LMTP) -> None:
        client.ehlo_or_helo_if_needed()
        assert client.mail("", [f"SIZE={MOST_BYTES + 1}"])[0] == 552
        assert hand_in(client, address, report() + b"x" * 70 * 1024 + (b"y" * 70 + b"\r\n") * 20_000)[0] in (500, 552)
        assert hand_in(client, address, report(action="delayed"))[0] == 250

    intake.during(work)


def test_a_report_with_long_lines_is_taken(database: Database, intake: Intake) -> None:
    """Not every relay breaks them, and a refusal for good would leave the destination in use."""
    made, _, message_id = sent(database)
    content = report(message_id=message_id).replace(b"I'm sorry", b"I'm sorry" + b" so sorry" * 3_000)
    assert intake.bounce(address_of(database, made), content)[0] == 250
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["PARKED"]


def test_while_the_ledger_is_away_the_relay_keeps_it(database: Database, intake: Intake) -> None:
    made, _, message_id = sent(database)
    address = address_of(database, made)
    with database.reading(ALL_TENANTS) as connection:
        engine = connection.engine

    def away(*_: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the server is gone"))

    def work(client: smtplib.LMTP) -> None:
        client.ehlo_or_helo_if_needed()
        client.mail("")
        assert client.rcpt(address)[0] == 250
        event.listen(engine, "commit", away)
        assert client.data(report(message_id=message_id))[0] == 451
        event.listen(engine, "begin", away)
        assert hand_in(client, address, report(message_id=message_id))[0] == 451
        event.remove(engine, "begin", away)
        event.remove(engine, "commit", away)
        assert hand_in(client, address, report(message_id=message_id))[0] == 250

    intake.during(work)
    assert [row["state"] for row in rows_of(database, DESTINATION)] == ["PARKED"]


def test_so_many_connect_and_no_more(database: Database, intake: Intake) -> None:
    def work(client: smtplib.LMTP) -> None:
        others = [intake.client() for _ in range(MOST_CONNECTIONS - 1)]
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            intake.client().ehlo_or_helo_if_needed()
        others.pop().quit()
        for one in others:
            one.close()
        assert client.noop()[0] == 250

    intake.during(work)


def test_notices_that_grew_too_old_meanwhile_are_not_told(database: Database, intake: Intake) -> None:
    made, site, message_id = sent(database)
    intake.bounce(address_of(database, made), report(message_id=message_id))
    site.clock.at += 8 * DAY_MS
    with database.writing() as connection:
        unpark(connection, made.tenant_id, made.destination_id, site.clock.at)
        connection.execute(update(DESTINATION).values(zone="UTC"))
    site.deliver()
    assert [row["state"] for row in rows_of(database, DELIVERY)] == ["EXPIRED"]
