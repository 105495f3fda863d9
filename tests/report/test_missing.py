"""Rows of what compacted topics do not hold any more are forgotten; whatever may still be there stays."""

from __future__ import annotations

import pytest

from streams.database.database import Database
from streams.database.positions import MovedError
from streams.domain.time import DAY_MS, HOUR_MS
from streams.kafka.places import Place
from streams.report.model.batch import READ, SERVERS, VERDICTS
from streams.report.store.missing import Held, forget_missing
from streams.report.store.tables import SERVER, SERVER_DAY, TENANT_COUNT, TENANT_VERSION, VERDICT
from streams.report.store.upkeep import known_since, note_current
from streams.report.store.writer import TopicReplacedError, Writer
from tests.support.report import SOURCE, START, batch_of, read_of, report_record, rows_of, verdict_record

SERVERS_AT, VERDICTS_AT = Place(SERVERS, 0), Place(VERDICTS, 0)
TOPICS = {SERVERS: SERVERS, VERDICTS: VERDICTS}


def ignore(_: str) -> None:
    """No failpoint."""


def filled(database: Database, count: int) -> None:
    names = [f"mx{number}.contoso.com" for number in range(count)]
    reads = [read_of(SERVERS, offset, report_record(name)) for offset, name in enumerate(names)]
    verdicts = [read_of(VERDICTS, offset, verdict_record(name)) for offset, name in enumerate(names)]
    Writer(database, ignore).write(batch_of([*reads, *verdicts]))


def held(*numbers: int, begun: int, ended: int) -> Held:
    keys = {f"contoso/mx{number}.contoso.com".encode() for number in numbers}
    return Held(
        dict.fromkeys(READ, SOURCE),
        TOPICS,
        dict.fromkeys(TOPICS.values(), keys),
        {SERVERS_AT: begun, VERDICTS_AT: begun},
        {SERVERS_AT: ended, VERDICTS_AT: ended},
    )


def test_what_a_topic_does_not_hold_is_forgotten_and_what_came_later_stays(database: Database) -> None:
    filled(database, 6)
    before = rows_of(database, TENANT_VERSION)[0][1]
    # The sixth may have been written while the topic was read.
    found = held(1, 3, begun=5, ended=6)
    assert forget_missing(database, found, START + 2 * DAY_MS) == 6
    for table in (SERVER, VERDICT):
        assert [row[1] for row in rows_of(database, table)] == [f"mx{n}.contoso.com" for n in (1, 3, 5)]
    assert rows_of(database, TENANT_COUNT) == [("contoso", "REPORTED", 3)]
    assert [(row[1], row[4]) for row in rows_of(database, SERVER_DAY)] == [
        (START // DAY_MS, 6),
        (START // DAY_MS + 2, -3),
    ]
    version = rows_of(database, TENANT_VERSION)[0][1]
    assert version > before
    assert forget_missing(database, found, START + 3 * DAY_MS) == 0
    assert rows_of(database, TENANT_VERSION)[0][1] == version


def test_many_rows_are_looked_at_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.report.store.missing._ROWS_AT_ONCE", 2)
    filled(database, 7)
    assert forget_missing(database, held(0, 2, 4, 6, begun=7, ended=7), START) == 6
    assert [row[1] for row in rows_of(database, SERVER)] == [f"mx{n}.contoso.com" for n in (0, 2, 4, 6)]


def test_a_partition_that_was_not_read_whole_keeps_its_rows(database: Database) -> None:
    filled(database, 2)
    found = held(begun=2, ended=2)._replace(begun={VERDICTS_AT: 2})
    assert forget_missing(database, found, START) == 2
    assert (len(rows_of(database, SERVER)), len(rows_of(database, VERDICT))) == (2, 0)


def test_tables_that_are_behind_or_of_another_topic_are_left_alone(database: Database) -> None:
    filled(database, 2)
    with pytest.raises(MovedError, match="offset 2 is next, and not 3"):
        forget_missing(database, held(begun=2, ended=3), START)
    with pytest.raises(TopicReplacedError):
        forget_missing(database, held(begun=2, ended=2)._replace(sources=dict.fromkeys(READ, "cluster/other")), START)
    assert len(rows_of(database, SERVER)) == len(rows_of(database, VERDICT)) == 2


def test_tables_are_known_since_they_were_current_or_begun(database: Database) -> None:
    assert known_since(database, START) == START
    assert known_since(database, START + HOUR_MS) == START
    filled(database, 1)
    assert known_since(database, START + HOUR_MS) == START
    note_current(database, START + 2 * HOUR_MS)
    assert known_since(database, START + 3 * HOUR_MS) == START + 2 * HOUR_MS


def test_of_tables_that_were_begun_by_an_older_version_nothing_is_known(database: Database) -> None:
    filled(database, 1)
    assert known_since(database, START) == 0
