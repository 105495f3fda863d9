"""From the topic to destinations, on both databases: nothing is lost, told twice by itself, or told though untrue."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

from streams.database.database import ALL_TENANTS, Database
from streams.database.positions import MovedError
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.notices.destinations import (
    CHALLENGE_MS,
    confirm_by_token,
    ensure_contact,
    get_destination,
    list_destinations,
    remove_destination,
    send_test,
    unpark,
    unsubscribe_by_token,
)
from streams.notices.history import attempts_of, deliveries
from streams.notices.model import OPERATORS, DestinationKind, DestinationState, Digest, Form, Outcome, OutcomeKind
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, LANE, MESSAGE, NEVER, NOTICE, UNREADABLE
from streams.notices.tokens import TokenError
from streams.notify.packing import BUSY_WAIT_MS, IDLE_WAIT_MS, LONGEST_WAIT_MS
from streams.notify.recording import Batch, Unreadable
from streams.notify.retrying import PARKED_AFTER_MS, SCHEDULE
from streams.notify.routing import OLDEST_MS
from streams.notify.runs import LEASE_MS, Run
from streams.notify.upkeep import analyze, count, expire, prune
from tests.support.channels import AWAY, DELIVERED, FAILED, GONE, RecordingChannel
from tests.support.crashes import Crash, crash_at
from tests.support.notices import PLACE, SOURCE, START, add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site, states


def test_a_notice_reaches_who_subscribed_once(site: Site) -> None:
    recorded = site.record(notice(1))
    assert (recorded.notices, recorded.deliveries, recorded.untold) == (1, 1, 0)
    assert site.claim() == []
    site.deliver(after=IDLE_WAIT_MS)
    (sent,) = site.channel.sent
    assert (sent.message.form, sent.ids, sent.message.attempt) == (Form.SINGLE, ["n1"], 1)
    assert sent.destination.address == "admin@contoso.example"
    site.deliver(after=DAY_MS)
    assert len(site.channel.sent) == 1
    assert states(site.database) == {"SENT": 1}
    assert rows_of(site.database, LANE)[0]["due_at"] == NEVER


def test_what_is_read_again_is_not_told_again(site: Site) -> None:
    site.record(notice(1), notice(2))
    again = site.recorder.write(
        Batch({PLACE.topic: SOURCE}, {PLACE: 1}, {PLACE: 4}, [notice(1), notice(2), notice(3)]), is_behind=False
    )
    assert again.notices == 1
    # Another topic of this name, and what was written twice.
    other = Batch({PLACE.topic: "other"}, {PLACE: 0}, {PLACE: 4}, [notice(1), notice(2), notice(4), notice(4)])
    assert site.recorder.positions(other.sources) == {}
    assert site.recorder.write(other, is_behind=False).notices == 1
    assert site.recorder.positions({PLACE.topic: SOURCE}) == {PLACE: 4}
    assert len(rows_of(site.database, NOTICE)) == 4


def test_a_batch_that_does_not_follow_is_refused(site: Site) -> None:
    site.record(notice(1))
    with pytest.raises(MovedError, match="offset 2 is next, and not 5"):
        site.record(notice(5))
    assert len(rows_of(site.database, NOTICE)) == 1


def test_what_cannot_be_read_is_named(site: Site) -> None:
    batch = Batch({PLACE.topic: SOURCE}, {PLACE: 0}, {PLACE: 2})
    batch.unreadable = [Unreadable(PLACE, 1, START, "first byte is 0x07\0" + "x" * 900)]
    for _ in range(2):
        site.recorder.write(batch, is_behind=False)
    (row,) = rows_of(site.database, UNREADABLE)
    assert row["reason"].startswith("first byte is 0x07\ufffd")


def test_characters_that_a_database_refuses_are_told_all_the_same(site: Site) -> None:
    site.record(notice(1, notification_id="n\0", server="mx\0", text="a\0b\ud7ff"))
    site.deliver(after=IDLE_WAIT_MS)
    assert site.channel.sent[0].message.notices[0]["text"] == "a\0b\ud7ff"


def test_few_go_one_by_one_in_order_and_many_as_one(site: Site) -> None:
    site.record(*(notice(number) for number in (1, 2, 3)))
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n1"], ["n2"], ["n3"]]
    site.record(*(notice(number) for number in range(4, 29)))
    site.deliver(after=BUSY_WAIT_MS)
    (digest,) = site.channel.sent[3:]
    assert digest.message.form is Form.DIGEST
    assert digest.ids == [f"n{number}" for number in range(4, 29)]
    assert len({one.message.message_id for one in site.channel.sent}) == 4


def test_a_storm_is_one_digest_for_each_destination(database: Database) -> None:
    tenants = [f"t{number}" for number in range(20)]
    for tenant in tenants:
        subscribe(database, add_destination(database, tenant))
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    numbers = iter(range(10_000))
    notices = [
        notice(next(numbers), kind="POLICY_ANNOUNCED", tenant_id=tenant, server=f"mx{server}.{tenant}.example")
        for server in range(25)
        for tenant in tenants
    ]
    for begin in range(0, len(notices), 50):
        site.record(*notices[begin : begin + 50], is_behind=True)
        site.clock.at += 700
        site.send(site.claim())
    assert site.channel.sent == []
    site.deliver(after=LONGEST_WAIT_MS)
    assert Counter(one.destination.tenant_id for one in site.channel.sent) == dict.fromkeys(tenants, 1)
    assert {len(one.ids) for one in site.channel.sent} == {25}
    assert states(database) == {"SENT": len(notices)}


def test_a_storm_waits_no_longer_than_its_window(site: Site) -> None:
    for number in range(0, 186, 6):
        site.record(*(notice(number + one) for one in range(6)), is_behind=True)
        site.clock.at += 2_000
        site.send(site.claim())
    (sent,) = site.channel.sent
    assert (sent.message.form, sent.message.made_at) == (Form.DIGEST, START + LONGEST_WAIT_MS)
    assert len(sent.ids) == 180


def test_what_became_untrue_is_not_told(site: Site) -> None:
    site.record(notice(1, kind="STAGE_UPCOMING", stage=4), notice(2, kind="STAGE_UPCOMING", server="mx2.contoso.com"))
    recorded = site.record(notice(3, kind="SERVER_RESOLVED", stage=None))
    assert recorded.withdrawn == 1
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"], ["n3"]]
    withdrawn = [row for row in rows_of(site.database, DELIVERY) if row["state"] == "WITHDRAWN"]
    assert [(row["notification_id"], row["why"]) for row in withdrawn] == [("n1", "untrue since n3")]


def test_order_decides_what_is_untrue_within_a_batch(site: Site) -> None:
    site.record(
        notice(1, occurred_at=START, kind="SERVER_RESOLVED"),
        notice(2, occurred_at=START, kind="SERVER_DETECTED"),
        notice(3, server="mx2", occurred_at=START + 5, kind="SERVER_DETECTED"),
        notice(4, server="mx2", occurred_at=START + 6, kind="SERVER_RESOLVED"),
    )
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"], ["n4"]]


def test_a_pause_withdraws_steps_of_all_servers_of_its_tenant(database: Database) -> None:
    for tenant in ("contoso", "fabrikam"):
        subscribe(database, add_destination(database, tenant), digest=Digest.HOURLY)
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    site.record(
        notice(1, kind="STAGE_UPCOMING"),
        notice(2, server="mx2.contoso.com", kind="STAGE_UPCOMING"),
        notice(3, tenant_id="fabrikam", kind="STAGE_UPCOMING"),
        notice(4, kind="PAUSE_STARTED", server=None),
    )
    site.deliver(after=HOUR_MS)
    assert {one.destination.tenant_id: one.ids for one in site.channel.sent} == {"contoso": ["n4"], "fabrikam": ["n3"]}


def test_what_was_sent_is_not_withdrawn(site: Site) -> None:
    site.record(notice(1))
    (claim,) = site.deliver_nothing(after=IDLE_WAIT_MS)
    assert site.record(notice(2, kind="SERVER_RESOLVED")).withdrawn == 0
    site.send([claim])
    assert [one.ids for one in site.channel.sent] == [["n1"]]
    assert [row["state"] for row in rows_of(site.database, DELIVERY)] == ["SENT", "WAITING"]


def test_quiet_hours_end_with_one_digest_and_what_is_critical_goes_through(database: Database) -> None:
    berlin = add_destination(database, zone="Europe/Berlin")
    subscribe(database, berlin, quiet_from=11 * 60, quiet_to=15 * 60)
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    site.record(*(notice(number) for number in (1, 2)), notice(3, severity="CRITICAL"))
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n3"]]
    site.deliver(after=HOUR_MS)
    assert len(site.channel.sent) == 1
    # Noon in Berlin is ten o'clock UTC in summer: the date is in September.
    site.clock.at = START + 3 * HOUR_MS
    site.deliver()
    assert [(one.message.form, one.ids) for one in site.channel.sent[1:]] == [(Form.DIGEST, ["n1", "n2"])]


def test_a_daily_digest_goes_once_a_day(database: Database) -> None:
    subscribe(database, add_destination(database), digest=Digest.DAILY, daily_at=8 * 60)
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    site.record(notice(1))
    site.deliver(after=DAY_MS - 3 * HOUR_MS)
    assert site.channel.sent == []
    site.record(notice(2))
    site.deliver(after=HOUR_MS)
    assert [one.ids for one in site.channel.sent] == [["n1", "n2"]]


def test_a_first_start_mails_no_history(database: Database) -> None:
    site = Site(database, contacts={"contoso": ["mail@contoso.example"]})
    site.record(notice(1, written_at=START - 1), notice(2, written_at=START))
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"]]
    assert len(rows_of(database, NOTICE)) == 2


def test_what_is_older_than_a_week_is_recorded_and_not_sent(site: Site) -> None:
    site.clock.at += OLDEST_MS + 100
    assert site.record(notice(1), notice(200)).expired == 1
    site.deliver(after=50)
    assert states(site.database) == {"EXPIRED": 1, "WAITING": 1}
    site.deliver(after=BUSY_WAIT_MS)
    assert states(site.database) == {"EXPIRED": 2}
    assert site.channel.sent == []


def test_a_tenant_that_configured_nothing_is_told_by_its_connectors(database: Database) -> None:
    known = {"contoso": ["mail@contoso.example", "second@contoso.example"]}
    site = Site(database, contacts=known)
    assert site.record(notice(1), notice(2, tenant_id="fabrikam")).untold == 1
    assert count(database, site.clock()).untold_tenants == 1
    site.deliver(after=BUSY_WAIT_MS)
    assert sorted(one.destination.address for one in site.channel.sent) == known["contoso"]
    with database.writing() as connection:
        found = unsubscribe_by_token(connection, site.channel.sent[0].message.token, site.clock())
    site.record(notice(3))
    site.deliver(after=BUSY_WAIT_MS)
    left = [address for address in known["contoso"] if address != found.address]
    assert [one.destination.address for one in site.channel.sent[2:]] == left
    subscribe(database, add_destination(database), now=site.clock())
    site.record(notice(4, written_at=site.clock()))
    site.deliver(after=BUSY_WAIT_MS)
    assert site.channel.sent[-1].destination.address == "admin@contoso.example"


def test_operators_are_told_of_all_and_no_tenant_sees_it(site: Site) -> None:
    ops = add_destination(site.database, OPERATORS, address="ops@example.com")
    subscribe(site.database, ops, least_severity="CRITICAL")
    site.record(notice(1, severity="CRITICAL"), notice(2, tenant_id="fabrikam", severity="CRITICAL"), notice(3))
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.to("ops@example.com") if one.ids] == [["n1"], ["n2"]]
    with site.database.reading("contoso") as connection:
        rows, behind = deliveries(connection, "contoso")
        assert (sorted(row.notification_id for row in rows), behind) == (["n1", "n3"], None)
        assert attempts_of(connection, "contoso", site.channel.to("ops@example.com")[-1].message.message_id) == []
    with site.database.reading(ALL_TENANTS) as connection:
        assert len(deliveries(connection, ALL_TENANTS)[0]) == 4


def test_history_comes_in_pages_with_every_attempt(site: Site) -> None:
    site.channel.answer = lambda _, message: FAILED if message.attempt == 1 else DELIVERED
    for number in range(7):
        site.record(notice(number))
        site.clock.at += 1
    site.deliver(after=BUSY_WAIT_MS)
    site.deliver(after=SCHEDULE[0] * 2)
    with site.database.reading("contoso") as connection:
        found, behind, pages = [], None, 0
        while behind is not None or not pages:
            rows, behind = deliveries(connection, "contoso", limit=3, behind=behind)
            found += rows
            pages += 1
        assert [row.notification_id for row in found] == [f"n{number}" for number in reversed(range(7))]
        assert pages == 3
        one = found[0]
        assert (one.state, one.attempts, one.last_code, one.destination_name) == ("SENT", 2, 200, "Admins")
        assert one.record["title"] == "Mail is delayed"
        tried = attempts_of(connection, "contoso", one.message_id or "")
        assert [(attempt.number, attempt.outcome, attempt.code) for attempt in tried] == [
            (1, "FAILED", 503),
            (2, "DELIVERED", 200),
        ]
        assert len(deliveries(connection, "contoso", notification_id="n3")[0]) == 1
        assert deliveries(connection, "contoso", destination_id="other")[0] == []
        with pytest.raises(ValueError, match="limit"):
            deliveries(connection, "contoso", limit=0)


def test_a_message_that_fails_is_tried_again_under_its_id(site: Site) -> None:
    answers = iter([FAILED, FAILED, DELIVERED])
    site.channel.answer = lambda _, __: next(answers)
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    site.record(notice(2))
    site.deliver(after=round(SCHEDULE[0] * 0.9))
    assert len(site.channel.sent) == 1
    site.deliver(after=round(SCHEDULE[0] * 0.2))
    site.channel.answer = lambda _, __: DELIVERED
    site.deliver(after=SCHEDULE[1])
    assert [one.ids for one in site.channel.sent] == [["n1"], ["n1"], ["n1"], ["n2"]]
    assert [one.message.attempt for one in site.channel.sent] == [1, 2, 3, 1]
    assert len({one.message.message_id for one in site.channel.sent[:3]}) == 1
    assert rows_of(site.database, LANE)[0]["failures"] == 0


def test_only_the_first_message_of_a_lane_that_fails_is_tried(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(*(notice(number) for number in range(4)))
    for _ in range(3):
        site.deliver(after=HOUR_MS)
    assert [one.ids for one in site.channel.sent] == [["n0"]] * 3
    site.channel.answer = lambda _, __: DELIVERED
    site.record(*(notice(number) for number in range(4, 20)))
    site.deliver(after=HOUR_MS)
    assert [one.ids for one in site.channel.sent[3:7]] == [["n0"], ["n1"], ["n2"], ["n3"]]
    assert [len(one.ids) for one in site.channel.sent[7:]] == [16]


def test_who_is_gone_is_parked_at_once_and_told_together_when_used_again(site: Site) -> None:
    site.channel.answer = lambda _, __: GONE
    site.record(notice(1), notice(2))
    finished = site.deliver(after=BUSY_WAIT_MS)
    ((parked, why),) = finished.parked
    assert why == "gone"
    site.record(notice(3))
    site.deliver(after=DAY_MS)
    assert len(site.channel.sent) == 1
    assert states(site.database) == {"WAITING": 3}
    assert count(site.database, site.clock()).parked == {"MAIL": 1}
    site.channel.answer = lambda _, __: DELIVERED
    with site.database.writing() as connection:
        unpark(connection, "contoso", parked.destination_id, site.clock())
    site.deliver()
    assert [one.ids for one in site.channel.sent[1:]] == [["n1", "n2", "n3"]]
    assert site.channel.sent[1].message.message_id != site.channel.sent[0].message.message_id


def test_who_only_fails_for_days_is_parked_and_what_waits_grows_too_old(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1))
    while not site.deliver(after=HOUR_MS).parked:
        assert site.clock() < START + 7 * DAY_MS
    assert START + PARKED_AFTER_MS <= site.clock() <= START + PARKED_AFTER_MS + DAY_MS
    assert len(site.channel.sent) < 20
    assert states(site.database) == {"WAITING": 1}
    site.clock.at = START + OLDEST_MS + 10
    assert expire(site.database, site.clock()) == 1
    assert states(site.database) == {"EXPIRED": 1}


def test_a_dead_destination_costs_a_living_one_nothing(site: Site) -> None:
    subscribe(
        site.database, add_destination(site.database, kind=DestinationKind.WEBHOOK, address="https://dead.example/")
    )
    site.deliver()
    site.channel.sent.clear()
    site.channel.answer = lambda destination, _: FAILED if "dead" in destination.address else DELIVERED
    for number in range(10):
        site.record(notice(number))
        site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.to("admin@contoso.example")] == [[f"n{number}"] for number in range(10)]
    assert len(site.channel.to("https://dead.example/")) < 5


def test_a_channel_that_is_away_is_no_failure_of_a_destination(site: Site) -> None:
    site.channel.answer = lambda _, __: AWAY
    site.record(notice(1))
    for _ in range(3):
        site.deliver(after=DAY_MS)
        site.send(site.claim())
    (lane,) = rows_of(site.database, LANE)
    assert (lane["failures"], lane["failing_since"]) == (0, None)
    site.channel.answer = lambda _, __: DELIVERED
    site.deliver(after=MINUTE_MS)
    assert {one.message.attempt for one in site.channel.sent} == {1}
    assert states(site.database) == {"SENT": 1}


POINTS = ("recorded", "committed", "claiming", "claimed", "finishing", "finished")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_anywhere_loses_nothing_and_repeats_under_the_same_id(site: Site, point: str) -> None:
    clock, channel, database = site.clock, site.channel, site.database
    notices = [notice(number) for number in range(3)]
    dying = Site(database, clock, channel, failpoint=crash_at(point))

    def live() -> None:
        dying.record(*notices)
        dying.deliver(after=BUSY_WAIT_MS)

    with pytest.raises(Crash):
        live()
    again = Site(database, clock, channel)
    begins = again.recorder.positions({PLACE.topic: SOURCE}).get(PLACE, 0)
    if begins < 3:
        again.record(*notices[begins:])
    again.deliver(after=BUSY_WAIT_MS)
    again.deliver(after=LEASE_MS)
    told = Counter(one.ids[0] for one in channel.sent)
    assert set(told) == {"n0", "n1", "n2"}
    assert max(told.values()) <= (2 if point == "finishing" else 1)
    assert len({(one.ids[0], one.message.message_id) for one in channel.sent}) == 3
    assert states(database) == {"SENT": 3}


def test_who_writes_after_another_took_the_lane_is_refused(site: Site) -> None:
    site.record(notice(1))
    (slow,) = site.deliver_nothing(after=IDLE_WAIT_MS)
    other = Site(site.database, site.clock, site.channel, owner="two")
    assert other.claim() == []
    site.clock.at += LEASE_MS
    (taken,) = other.claim()
    assert (taken.fence, taken.messages[0].message_id) == (slow.fence + 1, slow.messages[0].message_id)
    site.channel.answer = lambda _, __: GONE
    assert [run.claim.fence for run in site.send([slow]).refused] == [slow.fence]
    site.channel.answer = lambda _, __: DELIVERED
    assert other.send([taken]).refused == []
    assert states(site.database) == {"SENT": 1}
    with site.database.reading("contoso") as connection:
        assert get_destination(connection, "contoso", slow.destination.destination_id).state == "ACTIVE"
    assert len(rows_of(site.database, ATTEMPT)) == 1


def test_a_lease_begins_when_the_lane_can_be_taken(site: Site) -> None:
    site.record(notice(1))
    site.clock.at += IDLE_WAIT_MS
    with site.database.writing() as connection:
        engine = connection.engine

    def wait(_: object) -> None:
        site.clock.at += 4_000  # for the right to write

    event.listen(engine, "begin", wait)
    (claim,) = site.claim()
    event.remove(engine, "begin", wait)
    assert claim.until == site.clock.at + LEASE_MS
    assert rows_of(site.database, LANE)[0]["lease_until"] == claim.until


def test_a_lane_that_was_taken_too_late_is_given_back(site: Site) -> None:
    site.record(notice(1))
    (claim,) = site.deliver_nothing(after=IDLE_WAIT_MS)
    assert site.lanes.finish([Run(claim, ())]).refused == []
    (again,) = site.claim()
    assert again.messages == claim.messages
    assert again.fence == claim.fence + 1


def test_what_comes_while_a_lane_is_taken_is_sent_next(site: Site) -> None:
    site.record(notice(1))
    claims = site.deliver_nothing(after=IDLE_WAIT_MS)
    site.record(notice(2))
    site.record(notice(3))
    site.send(claims)
    site.deliver(after=BUSY_WAIT_MS)
    assert [one.ids for one in site.channel.sent] == [["n1"], ["n2"], ["n3"]]


def test_what_comes_while_a_lane_is_taken_goes_with_what_comes_with_it(site: Site) -> None:
    site.record(notice(1))
    claims = site.deliver_nothing(after=IDLE_WAIT_MS)
    site.record(*(notice(number) for number in range(2, 5)))
    site.send(claims)
    assert site.claim() == []
    site.record(*(notice(number) for number in range(5, 9)))
    site.deliver(after=BUSY_WAIT_MS)
    assert [len(one.ids) for one in site.channel.sent] == [1, 7]


def test_what_comes_while_a_lane_that_failed_is_tried_is_sent_next(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.clock.at += MINUTE_MS
    claims = site.claim(is_failing=True)
    site.record(notice(2))
    site.send(claims)
    site.deliver()
    assert [one.ids for one in site.channel.sent] == [["n1"], ["n1"], ["n2"]]


def test_what_waits_for_a_channel_that_is_not_set_up_grows_too_old(site: Site) -> None:
    site.record(notice(1))
    assert expire(site.database, START + OLDEST_MS) == 0
    assert expire(site.database, START + OLDEST_MS + 10) == 1
    assert states(site.database) == {"EXPIRED": 1}


def test_a_destination_that_is_removed_meanwhile_is_sent_nothing_more(site: Site) -> None:
    site.record(notice(1), notice(2))
    (claim,) = site.deliver_nothing(after=BUSY_WAIT_MS)
    with site.database.writing() as connection:
        remove_destination(connection, "contoso", claim.destination.destination_id, "removed by admin", site.clock())
    assert len(site.send([claim]).refused) == 1
    site.deliver(after=LEASE_MS)
    assert states(site.database) == {"WITHDRAWN": 2}
    assert len(site.channel.sent) == 2
    assert site.record(notice(3)).untold == 1


def test_a_database_that_goes_away_between_sending_and_writing(site: Site) -> None:
    site.record(notice(1))
    claims = site.deliver_nothing(after=IDLE_WAIT_MS)

    def away(*_: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the server is gone"))

    with site.database.writing() as connection:
        engine = connection.engine
    event.listen(engine, "commit", away)
    with pytest.raises(DBAPIError):
        site.send(claims)
    event.remove(engine, "commit", away)
    site.clock.at += LEASE_MS - 1
    assert site.send(claims).refused == []
    assert states(site.database) == {"SENT": 1}
    assert len({one.message.message_id for one in site.channel.sent}) == 1


def test_a_mailbox_is_asked_and_a_webhook_answers(database: Database) -> None:
    mail = add_destination(database, is_confirmed=False)
    hook = add_destination(database, kind=DestinationKind.WEBHOOK, is_confirmed=False)
    chat = add_destination(database, kind=DestinationKind.SLACK, address="https://chat.example/x", is_confirmed=False)
    for one in (mail, hook, chat):
        subscribe(database, one)
    site = Site(database)
    assert site.record(notice(1)).untold == 1
    finished = site.deliver(after=BUSY_WAIT_MS)
    assert [one.message.form for one in site.channel.sent] == [Form.CONFIRMATION] * 3
    assert [one.destination_id for one in finished.confirmed] == [hook.destination_id]
    with database.writing() as connection:
        (asked,) = site.channel.to(mail.address)
        confirm_by_token(connection, asked.message.token, site.clock())
        found = {one.destination_id: one.state for one in list_destinations(connection, "contoso")}
    assert found == {
        mail.destination_id: DestinationState.ACTIVE,
        hook.destination_id: DestinationState.ACTIVE,
        chat.destination_id: DestinationState.UNCONFIRMED,
    }
    site.record(notice(2))
    site.deliver(after=BUSY_WAIT_MS)
    assert {one.destination.address for one in site.channel.sent[3:]} == {mail.address, hook.address}


def test_a_question_is_not_asked_for_ever(database: Database) -> None:
    add_destination(database, kind=DestinationKind.WEBHOOK, is_confirmed=False)
    site = Site(database, channel=RecordingChannel(lambda _, __: FAILED))
    while site.clock() < START + CHALLENGE_MS + DAY_MS:
        site.deliver(after=HOUR_MS)
    assert 5 < len(site.channel.sent) < 12
    assert [row["last_why"] for row in rows_of(database, MESSAGE)] == ["not confirmed in time"]
    assert rows_of(database, LANE)[0]["due_at"] == NEVER


def test_a_test_is_sent_at_once_and_tried_once(site: Site) -> None:
    site.channel.answer = lambda _, message: FAILED
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    with site.database.writing() as connection:
        (found,) = list_destinations(connection, "contoso")
        message_id = send_test(connection, "contoso", found.destination_id, site.clock())
    site.deliver()
    site.deliver(after=DAY_MS)
    tests = [one for one in site.channel.sent if one.message.form is Form.TEST]
    assert [one.message.message_id for one in tests] == [message_id]
    row = next(row for row in rows_of(site.database, MESSAGE) if row["message_id"] == message_id)
    assert (row["state"], row["last_outcome"], row["last_code"]) == ("GIVEN_UP", "FAILED", 503)


def test_a_hostile_answer_is_kept_as_it_is(site: Site) -> None:
    site.channel.answer = lambda _, __: Outcome(OutcomeKind.FAILED, 500, "\\x1b[31m" * 30, retry_after_ms=3 * HOUR_MS)
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    (lane,) = rows_of(site.database, LANE)
    assert lane["due_at"] == site.clock() + 3 * HOUR_MS


@pytest.mark.parametrize(
    "outcome", [Outcome(OutcomeKind.FAILED, 500, "\ud83d"), Outcome(OutcomeKind.FAILED, 2**70, "")]
)
def test_an_answer_that_cannot_be_written_keeps_no_other_from_being_written(site: Site, outcome: Outcome) -> None:
    subscribe(site.database, add_destination(site.database, "fabrikam"))
    site.deliver()
    site.channel.answer = lambda destination, _: outcome if destination.tenant_id == "contoso" else DELIVERED
    site.record(notice(1), notice(2, tenant_id="fabrikam"))
    finished = site.deliver(after=IDLE_WAIT_MS)
    assert (finished.refused, finished.unwritten) == ([], [])
    assert states(site.database) == {"PACKED": 1, "SENT": 1}
    lanes = {row["tenant_id"]: row for row in rows_of(site.database, LANE)}
    assert (lanes["contoso"]["failures"], lanes["contoso"]["lease_until"]) == (1, 0)
    (attempt,) = (row for row in rows_of(site.database, ATTEMPT) if row["outcome"] == "FAILED")
    assert (attempt["code"], attempt["why"]) == (None, "what was answered cannot be written")


def test_a_result_that_was_written_is_not_written_again(site: Site) -> None:
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1))
    (claim,) = site.deliver_nothing(after=IDLE_WAIT_MS)
    site.send([claim])
    # As where nobody can say whether a transaction was committed.
    assert len(site.send([claim]).refused) == 1
    assert rows_of(site.database, LANE)[0]["failures"] == 1


def test_what_the_ledger_holds_is_counted_and_pruned(site: Site) -> None:
    site.record(notice(1), notice(2, severity="CRITICAL"))
    site.deliver(after=BUSY_WAIT_MS)
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(3, severity="CRITICAL"))
    site.deliver(after=BUSY_WAIT_MS)
    assert count(site.database, site.clock()).overdue == 0
    held = count(site.database, site.clock() + 2 * HOUR_MS)
    assert (held.overdue, held.waiting) == (1, {"MAIL": 1})
    analyze(site.database)
    prune(site.database, site.clock() + 31 * DAY_MS, 90)
    assert rows_of(site.database, ATTEMPT) == []
    assert len(rows_of(site.database, NOTICE)) == 3
    prune(site.database, site.clock() + 91 * DAY_MS, 90)
    assert [row["notification_id"] for row in rows_of(site.database, NOTICE)] == ["n3"]
    assert len(rows_of(site.database, DELIVERY)) == 1


def test_a_removed_destination_goes_with_the_last_of_its_deliveries(site: Site) -> None:
    site.record(notice(1))
    site.deliver(after=IDLE_WAIT_MS)
    with site.database.writing() as connection:
        contact = ensure_contact(connection, "contoso", "mail@contoso.example", START)
        for one in list_destinations(connection, "contoso"):
            remove_destination(connection, "contoso", one.destination_id, "removed", site.clock())
    prune(site.database, site.clock() + 89 * DAY_MS, 90)
    assert len(rows_of(site.database, DESTINATION)) == 2
    prune(site.database, site.clock() + 91 * DAY_MS, 90)
    assert [row["destination_id"] for row in rows_of(site.database, DELIVERY)] == []
    # Who said that they want no more is not written to again, though a connector names them.
    assert [row["destination_id"] for row in rows_of(site.database, DESTINATION)] == [contact.destination_id]
    assert [row["destination_id"] for row in rows_of(site.database, LANE)] == [contact.destination_id]
    with site.database.writing() as connection, pytest.raises(TokenError):
        unsubscribe_by_token(connection, site.channel.sent[0].message.token, site.clock())
