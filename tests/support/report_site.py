"""A real `tes report` process, its topics, and what it should have made of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from streams.database.database import Database
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.report.model.batch import READ, Read
from streams.report.reading.decoding import Decoder
from streams.report.store.opening import open_database
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from streams.wire.registry import LocalRegistry
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.report import folded, model_of

SECONDS = 60.0
Rows = dict[str, list[tuple[Any, ...]]]


def variables_of(settings: Settings, report: ReportSettings, **others: str) -> dict[str, str]:
    """What a process of the report is given; `port_of` tells its port."""
    own = {name: value for name, value in report.environment().items() if name.startswith("TES_REPORT_")}
    kafka = {"TES_KAFKA_BOOTSTRAP": settings.bootstrap, "TES_TOPIC_PREFIX": settings.topic_prefix}
    return {**own, **kafka, "TES_REPORT_PORT": str(free_port()), **others}


def report_process(folder: Path, variables: Mapping[str, str]) -> Process:
    """Start one; it logs into a folder."""
    return Process(folder / "report.log", variables, "report")


def port_of(variables: Mapping[str, str]) -> int:
    """Where its probes are."""
    return int(variables["TES_REPORT_PORT"])


async def reads_of(settings: Settings) -> list[Read]:
    """Everything that the topics hold, topic by topic; what cannot be read is left out."""
    decoder = Decoder(LocalRegistry(), lambda name: name)
    found: list[Read] = []
    for name in READ:
        records = [record async for record in read_settled(cluster_of(settings), settings.topic(TOPICS[name]))]
        batch = decoder.decode((_Renamed(record, name) for record in records), {})
        reads = [*batch.servers, *batch.verdicts, *batch.notifications, *batch.audits]
        found += sorted(reads, key=lambda read: (read.place, read.offset))
    return found


class _Renamed:
    """A record of a topic of another name."""

    def __init__(self, record: Any, topic: str) -> None:
        self._record, self.topic = record, topic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


def shown(rows: Rows, names: Collection[str]) -> Rows:
    """Some tables of a model."""
    return {name: found for name, found in rows.items() if name in names}


def expected_model(settings: Settings) -> Rows:
    """What a simple fold makes of the topics; without positions, which are behind marks of transactions."""
    rows = folded(asyncio.run(reads_of(settings)))
    return shown(rows, rows.keys() - {"consumer_offset"})


def until_model(report: ReportSettings, expected: Rows) -> None:
    """Wait until a database has exactly these rows."""
    database = open_database(report)
    try:
        until_rows(database, expected)
    finally:
        database.close()


def until_rows(database: Database, expected: Rows) -> None:
    """Likewise."""
    deadline = time.monotonic() + SECONDS
    while (found := shown(model_of(database), expected)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == expected
