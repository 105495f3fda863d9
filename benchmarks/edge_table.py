"""Verdicts on an edge's disk: of a server whose mail comes in, of one that is blocked, and of many others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from streams.domain.edge import EdgeVerdict
from streams.domain.exchange.build import Build
from streams.domain.policy.ladder import ScheduledStage
from streams.domain.time import DAY_MS
from streams.edge.store.table import VerdictTable
from streams.edge.store.table_layout import CONFIRMED_AT
from streams.wire.edge_verdict import pack_edge_verdict

HOST: Final = "mx1.bench.example"
ROWS_AT_ONCE: Final = 10_000
_TEXT = (
    "Connecting Exchange server version is out-of-date; connection to Exchange Online {done} for {{minutes}} mins/hr. "
    "{server} runs 15.1.2507.39, 15.1.2507.61 or newer is required.{{next}} https://aka.ms/BlockUnsafeExchange"
)


def verdict_of(server: str, now: int, throttle: int, block: int) -> EdgeVerdict:
    """A verdict in the middle of the ladder, with all stages to come."""
    stages = tuple(ScheduledStage(2 + number, now + (10 + 10 * number) * DAY_MS, 10, 0) for number in range(7))
    texts = _TEXT.format(done="throttled", server=server), _TEXT.format(done="blocked", server=server)
    return EdgeVerdict(
        tenant_id="bench",
        server=server,
        revision=1,
        stage=1,
        throttle_minutes_per_hour=throttle,
        block_minutes_per_hour=block,
        schedule=stages,
        paused_until=None,
        smtp_template_throttle="450 4.7.230 " + texts[0],
        smtp_template_block="550 5.7.230 " + texts[1],
        required_build=Build(15, 1, 2507, 61),
        is_mixed=False,
    )


def _verdicts(count: int, now: int) -> Iterator[EdgeVerdict]:
    yield verdict_of(HOST, now, 0, 0)
    yield verdict_of(f"blocked.{HOST}", now, 0, 60)
    for number in range(count - 2):
        yield verdict_of(f"mail{number}.company{number % 997}.example", now, 0, 0)


def fill(folder: Path, count: int) -> None:
    """Write a table that is confirmed now."""
    folder.mkdir(parents=True)
    now = time.time_ns() // 1_000_000
    table = VerdictTable(folder)
    table.open()
    table.begin("bench", now)
    verdicts = _verdicts(count, now)
    while rows := {verdict.key.topic_key(): pack_edge_verdict(verdict) for verdict in islice(verdicts, ROWS_AT_ONCE)}:
        table.write(rows, {0: 1}, is_loading=True)
    table.complete()
    table.set_status({CONFIRMED_AT: now})
    table.close()
