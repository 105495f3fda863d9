"""What comes for the servers of a tenant, counted; and which servers of several machines are delayed or blocked."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Connection

from streams.database.database import Database
from streams.domain.time import DAY_MS
from streams.report.model.batch import SERVERS
from streams.report.queries import episodes
from streams.report.queries.episodes import Ahead, AheadCounts, count_ahead, next_block
from streams.report.queries.search import LARGE
from streams.report.queries.servers import mixed_by_action
from streams.report.store.writer import Writer
from tests.support.report import START, batch_of, read_of, report_record

NOON = START // DAY_MS * DAY_MS + DAY_MS // 2


def write(database: Database, first_offset: int, *records: dict[str, object]) -> None:
    """Have the tables know some reports."""
    reads = [read_of(SERVERS, first_offset + place, record) for place, record in enumerate(records)]
    Writer(database, lambda _: None).write(batch_of(reads))


def blocked_at(name: str, at: int, **changes: object) -> dict[str, object]:
    """A report of a server whose mail is blocked from a moment on."""
    stage = {"stage": 5, "starts_at": at, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 5}
    facts = {"status": "REPORTED", "schedule": [stage], "next_stage_start_date": at} | changes
    return report_record(name, START, **facts)


def test_the_next_block_is_that_of_the_first_server(database: Database) -> None:
    write(database, 0, blocked_at("b.contoso.com", NOON + 3 * DAY_MS), blocked_at("a.contoso.com", NOON + 2 * DAY_MS))
    with database.reading("contoso") as connection:
        assert next_block(count_ahead(connection, "contoso"), NOON) == NOON + 2 * DAY_MS


def test_the_next_block_is_of_no_server_that_is_blocked_already(database: Database) -> None:
    write(database, 0, blocked_at("a.contoso.com", NOON + DAY_MS, status="BLOCKED"))
    with database.reading("contoso") as connection:
        ahead = count_ahead(connection, "contoso")
    assert [one.status for one in ahead] == ["BLOCKED"]
    assert next_block(ahead, NOON) is None


@pytest.mark.parametrize(("now", "expected"), [(NOON - 2, NOON - 1), (NOON - 1, NOON + 5), (NOON + 5, None)])
def test_a_moment_that_has_passed_is_no_next_block(database: Database, now: int, expected: int | None) -> None:
    write(database, 0, blocked_at("a.contoso.com", NOON - 1), blocked_at("b.contoso.com", NOON + 5))
    with database.reading("contoso") as connection:
        assert next_block(count_ahead(connection, "contoso"), now) == expected


def test_a_small_tenant_is_counted_each_time(database: Database) -> None:
    counts = AheadCounts(lambda: 0.0)
    for number in (1, 2):
        write(database, number, blocked_at(f"mx{number}.contoso.com", NOON + DAY_MS))
        with database.reading("contoso") as connection:
            assert sum(one.n for one in counts.of(connection, "contoso", number)) == number


def test_a_count_of_a_large_tenant_serves_for_a_while(database: Database) -> None:
    now = [0.0]
    counts = AheadCounts(lambda: now[0])

    def counted(tenant: str) -> list[Ahead]:
        with database.reading(tenant) as connection:
            return counts.of(connection, tenant, LARGE)

    write(database, 0, blocked_at("mx1.contoso.com", NOON + DAY_MS))
    before = counted("contoso")
    write(database, 1, blocked_at("mx2.contoso.com", NOON + DAY_MS))
    now[0] = episodes.REMEMBERED_SECONDS - 1
    assert counted("contoso") == before
    assert counted("fabrikam") == []
    now[0] += 1
    assert [one.n for one in counted("contoso")] == [2]


def test_one_counts_while_others_have_the_count_before(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun, may_end = [0.0], Event(), Event()
    counts = AheadCounts(lambda: now[0])

    def counted() -> list[int]:
        with database.reading("contoso") as connection:
            return [one.n for one in counts.of(connection, "contoso", LARGE)]

    write(database, 0, blocked_at("mx1.contoso.com", NOON + DAY_MS))
    assert counted() == [1]
    write(database, 1, blocked_at("mx2.contoso.com", NOON + DAY_MS))

    def count_long(connection: Connection, tenant: str) -> list[Ahead]:
        begun.set()
        may_end.wait()
        return count_ahead(connection, tenant)

    monkeypatch.setattr(episodes, "count_ahead", count_long)
    now[0] = episodes.REMEMBERED_SECONDS
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(counted)
        begun.wait()
        begun.clear()
        try:
            assert counted() == [1]
            now[0] = episodes.MOST_STALE_SECONDS
            second = threads.submit(counted)
        finally:
            may_end.set()
        assert (first.result(), second.result()) == ([2], [2])


def test_counts_of_few_tenants_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MOST_REMEMBERED", 2)
    counts = AheadCounts(lambda: 0.0)
    write(database, 0, blocked_at("mx1.contoso.com", NOON + DAY_MS))
    for tenant in ("contoso", "fabrikam", "northwind"):
        with database.reading(tenant) as connection:
            counts.of(connection, tenant, LARGE)
    write(database, 1, blocked_at("mx2.contoso.com", NOON + DAY_MS))
    with database.reading("contoso") as connection:
        assert [one.n for one in counts.of(connection, "contoso", LARGE)] == [2]


def test_servers_of_several_machines_are_counted_by_what_happens_to_their_mail(database: Database) -> None:
    actions = ["THROTTLE", "BLOCK", "THROTTLE", "THROTTLE", "ACCEPT"]
    records = [
        blocked_at(f"m{number}.contoso.com", NOON + (9 - number) * DAY_MS, status="MIXED", action=action)
        for number, action in enumerate(actions)
    ]
    records.append(blocked_at("t.contoso.com", NOON, status="THROTTLED", action="THROTTLE"))
    write(database, 0, *records)
    with database.reading("contoso") as connection:
        assert mixed_by_action(connection, "contoso", 2) == {
            "ACCEPT": (1, ["m4.contoso.com"]),
            "BLOCK": (1, ["m1.contoso.com"]),
            "THROTTLE": (3, ["m3.contoso.com", "m2.contoso.com"]),
        }
