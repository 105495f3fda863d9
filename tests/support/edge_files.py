"""Verdicts and events for the files of an edge."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from streams.domain.edge import EdgeVerdict
from streams.domain.exchange.build import Build
from streams.domain.policy.ladder import ScheduledStage
from streams.edge.ports import SpooledEvent
from streams.edge.store.database import JOURNAL_FILE, SPOOL_FILE
from streams.edge.store.journal import parse_frames
from streams.edge.store.table import VerdictTable
from streams.wire.edge_verdict import pack_edge_verdict

THROTTLE = "450 4.7.230 Connecting Exchange server version is out-of-date; throttled for {minutes} mins/hr.{next}"
BLOCK = "550 5.7.230 Connecting Exchange server version is out-of-date; blocked for {minutes} mins/hr.{next}"


def verdict_of(number: int = 1, revision: int = 1) -> EdgeVerdict:
    """A verdict that throttles now and blocks later."""
    return EdgeVerdict(
        tenant_id="contoso",
        server=f"mail{number}.contoso.example",
        revision=revision,
        stage=2,
        throttle_minutes_per_hour=10,
        block_minutes_per_hour=0,
        schedule=(ScheduledStage(3, 1_900_000_000_000, 20, 5), ScheduledStage(4, 1_910_000_000_000, 20, 10)),
        paused_until=None,
        smtp_template_throttle=THROTTLE,
        smtp_template_block=BLOCK,
        required_build=Build(15, 1, 2507, 44),
        is_mixed=False,
    )


def rows_of(verdicts: Iterable[EdgeVerdict]) -> dict[bytes, bytes | None]:
    """Verdicts as a table takes them."""
    return {verdict.key.topic_key(): pack_edge_verdict(verdict) for verdict in verdicts}


def fill_table(folder: Path, *verdicts: EdgeVerdict, confirmed_at: int | None = None) -> None:
    """A complete table with these verdicts."""
    table = VerdictTable(folder)
    table.open()
    table.begin("cluster/topic", 1)
    table.write(rows_of(verdicts), {0: 1}, is_loading=True)
    table.complete()
    table.set_status({"confirmed_at": confirmed_at})
    table.close()


def event_of(number: int, *, is_eventful: bool = True, body: bytes = b"body") -> SpooledEvent:
    """An event of its own id."""
    return SpooledEvent("contoso", f"event-{number}", is_eventful, body)


def waiting_ids(folder: Path) -> list[str]:
    """The ids of the events that wait, oldest first, also of those that are only in the journal yet."""
    journal = folder / JOURNAL_FILE
    # First the journal: what leaves it meanwhile is in the database.
    found, _ = parse_frames(journal.read_bytes() if journal.exists() else b"")
    stored = spooled_ids(folder)
    return [*stored, *(item.event.event_id for item in found if item.event.event_id not in stored)]


def spooled_ids(folder: Path) -> list[str]:
    """The ids of the events that wait in the database, oldest first."""
    connection = sqlite3.connect(folder / SPOOL_FILE)
    try:
        return [row[0] for row in connection.execute("SELECT event_id FROM event ORDER BY seq")]
    finally:
        connection.close()


@contextmanager
def only_readable() -> Iterator[None]:
    """Files are opened meanwhile as SQLite opens those that this user may not write, which root always may."""
    connect = sqlite3.connect

    def to_read(name: str, *arguments: Any, **more: Any) -> Any:
        return connect(re.sub("mode=rwc?", "mode=ro", name), *arguments, **more)

    with patch("sqlite3.connect", to_read):
        yield
