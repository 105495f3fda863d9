"""Nothing that waited or failed before comes amid quiet hours, but for what is critical."""

from __future__ import annotations

from typing import Any

import pytest

from streams.database.database import Database
from streams.domain.time import HOUR_MS, MINUTE_MS, SECOND_MS
from streams.notices.model import Digest, Form
from streams.notices.tables import LANE
from streams.notify.packing import BUSY_WAIT_MS, IDLE_WAIT_MS
from tests.support.channels import AWAY, DELIVERED, FAILED, REFUSED
from tests.support.notices import START, add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site

QUIET: dict[str, Any] = {"quiet_from": 11 * 60, "quiet_to": 15 * 60}
"""An hour after `START`, for four hours."""
END = START + 5 * HOUR_MS


def site_of(database: Database, **subscription: Any) -> Site:
    subscribe(database, add_destination(database), **{**QUIET, **subscription})
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    return site


def until(site: Site, moment: int) -> None:
    """Let time pass, and send all that becomes due."""
    while site.clock.at < moment:
        site.deliver(after=min(5 * MINUTE_MS, moment - site.clock.at))


@pytest.mark.parametrize("answer", [FAILED, REFUSED, AWAY])
def test_what_failed_before_is_not_tried_amid_quiet_hours(database: Database, answer: Any) -> None:
    site = site_of(database)
    site.clock.at = START + 50 * MINUTE_MS
    site.record(notice(1))
    site.channel.answer = lambda _, __: answer
    site.deliver(after=BUSY_WAIT_MS)
    until(site, START + HOUR_MS - SECOND_MS)
    tried = len(site.channel.sent)
    assert tried > 1
    until(site, END - SECOND_MS)
    assert len(site.channel.sent) == tried
    (lane,) = rows_of(database, LANE)
    assert (lane["failures"] > 0) == (answer is FAILED)
    site.channel.answer = lambda _, __: DELIVERED
    site.deliver(after=SECOND_MS)
    assert [one.ids for one in site.channel.sent[tried:]] == [["n1"]]
    assert len({one.message.message_id for one in site.channel.sent}) == 1


def test_what_was_due_before_and_is_late_goes_at_their_end_together(database: Database) -> None:
    site = site_of(database)
    site.clock.at = START + HOUR_MS - MINUTE_MS
    site.record(notice(1), notice(2))
    # Nobody was there to send it.
    site.clock.at = START + 2 * HOUR_MS
    until(site, END - SECOND_MS)
    assert site.channel.sent == []
    site.deliver(after=SECOND_MS)
    assert [(one.message.form, one.ids) for one in site.channel.sent] == [(Form.DIGEST, ["n1", "n2"])]


def test_what_is_critical_is_tried_again_amid_quiet_hours(database: Database) -> None:
    site = site_of(database)
    site.clock.at = START + HOUR_MS - MINUTE_MS
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1), notice(2, severity="CRITICAL"))
    site.deliver(after=BUSY_WAIT_MS)
    until(site, START + HOUR_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.channel.sent.clear()
    until(site, END - SECOND_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"]]
    site.deliver(after=SECOND_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"], ["n1"]]


@pytest.mark.parametrize(
    "subscription", [{"is_quiet_for_critical": True}, {"digest": Digest.HOURLY, "quiet_from": 10 * 60 + 30}]
)
def test_what_is_critical_waits_where_it_is_to(database: Database, subscription: dict[str, Any]) -> None:
    site = site_of(database, **subscription)
    site.channel.answer = lambda _, __: FAILED
    site.record(notice(1, severity="CRITICAL"))
    until(site, START + HOUR_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.channel.sent.clear()
    until(site, END - SECOND_MS)
    assert site.channel.sent == []
    site.deliver(after=SECOND_MS)
    assert [one.ids for one in site.channel.sent] == [["n1"]]


def test_one_who_wants_no_quiet_is_told_what_another_subscription_keeps_back(database: Database) -> None:
    made = add_destination(database)
    subscribe(database, made, **QUIET)
    subscribe(database, made, servers="mx2*")
    site = Site(database)
    site.deliver()
    site.channel.sent.clear()
    site.clock.at = START + HOUR_MS - SECOND_MS
    site.channel.answer = lambda _, __: AWAY
    site.record(notice(1), notice(2, server="mx2.contoso.com"))
    site.deliver(after=SECOND_MS + IDLE_WAIT_MS)
    site.channel.answer = lambda _, __: DELIVERED
    site.channel.sent.clear()
    until(site, END - SECOND_MS)
    assert [one.ids for one in site.channel.sent] == [["n2"]]
