"""The sender at work: many destinations at once, none of which waits for another, on a database that goes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from streams.database.database import Database
from streams.domain.time import SECOND_MS
from streams.notices.model import Destination, Message, Outcome
from streams.notices.tables import DELIVERY
from streams.notify.packing import BUSY_WAIT_MS
from streams.notify.runs import LEASE_MS
from tests.support.channels import AWAY, DELIVERED, FAILED, RecordingChannel
from tests.support.crashes import Crash, crash_at
from tests.support.notices import add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site


@pytest.fixture
def site(database: Database) -> Site:
    """A site with five tenants that are subscribed to everything at once, each with a notice that is due."""
    for number in range(5):
        subscribe(database, add_destination(database, f"t{number}"))
    made = Site(database)
    made.deliver()
    made.channel.sent.clear()
    made.record(*(notice(number, tenant_id=f"t{number}") for number in range(5)))
    made.clock.at += BUSY_WAIT_MS
    return made


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that comes."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


def run(site: Site, is_over: Callable[[], bool], in_flight: int = 100) -> None:
    """Send until something is so."""

    async def work() -> None:
        sender = site.sender(in_flight)
        task = asyncio.create_task(sender.run())
        over = asyncio.create_task(until(is_over))
        done, _ = await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        if over in done:
            await sender.end(10)
        for one in (task, over):
            one.cancel()
        found = await asyncio.gather(task, over, return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error

    asyncio.run(work())


def states(site: Site) -> list[str]:
    return sorted(row["state"] for row in rows_of(site.database, DELIVERY))


def test_one_that_never_answers_costs_the_others_nothing(site: Site) -> None:
    site.channel.stuck = {"admin@t0.example"}

    def is_over() -> bool:
        return sum(site.status.delivered.values()) == 4 and bool(site.channel.to("admin@t0.example"))

    async def work() -> None:
        task = asyncio.create_task(site.sender(2).run())
        await until(is_over)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert states(site) == ["PACKED", *["SENT"] * 4]


def test_what_fails_is_counted_and_waits(site: Site) -> None:
    site.channel.answer = lambda destination, _: FAILED if destination.tenant_id == "t0" else DELIVERED
    run(site, lambda: sum(site.status.attempts.values()) == 5)
    assert states(site) == ["PACKED", *["SENT"] * 4]


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_what_failed_is_tried_again_however_few_are_sent_at_once(site: Site, in_flight: int) -> None:
    tried: list[str] = []

    def answer(destination: Destination, _: Message) -> Outcome:
        tried.append(destination.tenant_id)
        return FAILED if tried.count(destination.tenant_id) == 1 else DELIVERED

    def is_over() -> bool:
        if not site.status.in_flight:
            site.clock.at += SECOND_MS
        return sum(site.status.delivered.values()) == 5

    site.channel.answer = answer
    run(site, is_over, in_flight)
    assert states(site) == ["SENT"] * 5


def test_a_channel_that_is_away_is_left_alone_and_tried_by_one(site: Site) -> None:
    tried: list[str] = []

    def answer(destination: Destination, _: Message) -> Outcome:
        tried.append(destination.tenant_id)
        site.clock.at += 1_000
        return AWAY if len(tried) < 8 else DELIVERED

    site.channel.answer = answer
    run(site, lambda: sum(site.status.delivered.values()) == 5)
    assert site.status.away == {}
    assert len(tried) == 12
    assert states(site) == ["SENT"] * 5


def test_a_channel_that_is_away_is_tried_by_a_lane_that_failed_where_there_is_no_other(site: Site) -> None:
    tried: list[str] = []

    def answer(destination: Destination, _: Message) -> Outcome:
        tried.append(destination.tenant_id)
        return FAILED if len(tried) <= 5 else AWAY if len(tried) <= 12 else DELIVERED

    def is_over() -> bool:
        site.clock.at += SECOND_MS
        return sum(site.status.delivered.values()) == 5

    site.channel.answer = answer
    run(site, is_over)
    assert site.status.away == {}
    assert states(site) == ["SENT"] * 5


def test_what_was_sent_is_not_sent_again_while_it_cannot_be_written(site: Site) -> None:
    failures = 0

    def fail(step: str) -> None:
        nonlocal failures
        if step == "finishing" and failures < 5:
            failures += 1
            if failures > 1:  # by then the sender knows that nothing can be written
                site.clock.at += LEASE_MS
            raise OSError("the database is away")

    failing = Site(site.database, site.clock, site.channel, failpoint=fail)
    run(failing, lambda: sum(failing.status.delivered.values()) == 5)
    assert failures == 5
    assert len(site.channel.sent) == 5


def test_a_fault_of_a_channel_is_a_failure_and_ends_nothing(site: Site) -> None:
    def answer(destination: Destination, _: Message) -> Outcome:
        if destination.tenant_id == "t0":
            raise ZeroDivisionError("a fault of ours \0")
        return DELIVERED

    site.channel.answer = answer
    run(site, lambda: sum(site.status.attempts.values()) == 5)
    assert states(site) == ["PACKED", *["SENT"] * 4]


def test_who_dies_between_sending_and_writing_sends_again_under_the_same_ids(site: Site) -> None:
    dying = Site(site.database, site.clock, site.channel, failpoint=crash_at("finishing"))
    with pytest.raises(Crash):
        run(dying, lambda: False)
    sent = {one.message.message_id for one in site.channel.sent}
    assert 1 <= len(sent) <= 5
    site.clock.at += 120_000
    run(site, lambda: sum(site.status.delivered.values()) == 5)
    assert states(site) == ["SENT"] * 5
    assert len({one.message.message_id for one in site.channel.sent}) == 5


def test_what_is_not_written_down_is_in_flight(site: Site) -> None:
    is_blocked, may_go = threading.Event(), threading.Event()

    def block(step: str) -> None:
        if step == "finished":
            is_blocked.set()
            assert may_go.wait(60)

    blocking = Site(site.database, site.clock, site.channel, failpoint=block)

    async def work() -> None:
        sender = blocking.sender(2)
        task = asyncio.create_task(sender.run())
        await until(is_blocked.is_set)
        await asyncio.sleep(0.2)  # what it must not do it would do meanwhile
        sent = len(site.channel.sent)
        may_go.set()
        await until(lambda: sum(blocking.status.delivered.values()) == 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert sent <= 2

    asyncio.run(work())
    assert states(site) == ["SENT"] * 5


def test_two_senders_send_everything_once(site: Site) -> None:
    for begin in range(5, 205, 20):
        site.record(*(notice(number, tenant_id=f"t{number % 5}") for number in range(begin, begin + 20)))
        site.clock.at += BUSY_WAIT_MS
    other = Site(site.database, site.clock, RecordingChannel(), owner="two")

    async def work() -> None:
        tasks = [asyncio.create_task(one.sender(3).run()) for one in (site, other)]
        await until(lambda: sum(site.status.delivered.values()) + sum(other.status.delivered.values()) == 205)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())
    told = [one for sent in (*site.channel.sent, *other.channel.sent) for one in sent.ids]
    assert sorted(told) == sorted(f"n{number}" for number in range(205))
