"""A reader that was away for longer than a topic tells of deletions finds what it missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import update

from streams.clock import wall_clock_ms
from streams.database.database import ALL_TENANTS, Database
from streams.domain.time import HOUR_MS
from streams.kafka.places import Place
from streams.kafka.provisioning import MOST_AWAY_MS, create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topic_ids import identities_of
from streams.report.model.batch import SERVERS, Batch
from streams.report.store.opening import open_database
from streams.report.store.tables import CONSUMER_OFFSET, FACT, SERVER
from streams.report.store.upkeep import CURRENT_AT, fact
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from tests.support.edge_sync import produce, topic_of
from tests.support.report import encoded, read_of, report_record, rows_of
from tests.support.report_site import expected_model, port_of, report_process, until_model, variables_of


async def source_of(settings: Settings) -> str:
    topic = topic_of(settings, "server_report")
    return (await identities_of(cluster_of(settings), [topic]))[topic].source


async def ends_of(settings: Settings) -> dict[int, int]:
    """Behind the last record of each partition."""
    records = [record async for record in read_settled(cluster_of(settings), topic_of(settings, "server_report"))]
    return {record.partition: record.offset + 1 for record in records}


def names_of(database: Database) -> list[str]:
    return [row[1] for row in rows_of(database, SERVER)]


def test_rows_whose_deletion_was_missed_go(settings: Settings, report_settings: ReportSettings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    names = [f"mx{number}.contoso.com" for number in range(20)]
    rows: dict[bytes, bytes | None] = {}
    for name in names:
        rows[f"contoso/{name}".encode()] = encoded("server_report", report_record(name))
    asyncio.run(produce(settings, "server_report", rows))
    variables = variables_of(settings, report_settings)
    process = report_process(tmp_path, variables)
    process.until_ready(port_of(variables))
    until_model(report_settings, expected_model(settings))
    assert process.end() == 0
    database = open_database(report_settings)
    # A server of which the topic holds nothing any more, as if record and tombstone had been compacted away.
    topic, (partition, end) = topic_of(settings, "server_report"), next(iter(asyncio.run(ends_of(settings)).items()))
    place = Place(topic, partition)
    gone = read_of(SERVERS, 0, report_record("gone.contoso.com"))._replace(place=place)
    with database.writing() as connection:
        known = connection.execute(CONSUMER_OFFSET.select().where(CONSUMER_OFFSET.c.partition == partition)).first()
        assert known is not None
        connection.execute(update(CONSUMER_OFFSET).values(position=0).where(CONSUMER_OFFSET.c.partition == partition))
    batch = Batch({topic: asyncio.run(source_of(settings))}, {place: 0}, {place: known.position}, servers=[gone])
    Writer(database, lambda _: None).write(batch)
    assert known.position >= end
    assert "gone.contoso.com" in names_of(database)
    # Away for less it misses nothing, and looks for nothing.
    shortly, long = wall_clock_ms() - MOST_AWAY_MS + HOUR_MS, wall_clock_ms() - MOST_AWAY_MS - HOUR_MS
    for moment, expected in ((shortly, [*names, "gone.contoso.com"]), (long, names)):
        with database.writing() as connection:
            connection.execute(update(FACT).values(value=str(moment)).where(FACT.c.name == CURRENT_AT))
        process = report_process(tmp_path, variables)
        process.until_ready(port_of(variables))
        assert names_of(database) == sorted(expected)
        with database.reading(ALL_TENANTS) as connection:
            assert int(fact(connection, CURRENT_AT) or 0) > moment
        assert process.end() == 0
    assert "1 rows were of what the topics do not hold" in process.log
    database.close()
