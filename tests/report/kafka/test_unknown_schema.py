"""A record whose schema the registry does not know yet is waited for, whatever else goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from streams.clock import wall_clock_ms
from streams.database.database import Database
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.timing import Timing
from streams.report.reading.reader import Reader
from streams.report.reading.status import REGISTRY, State, not_ready_because
from streams.report.store.tables import SERVER, UNREADABLE, VERDICT
from streams.settings.worker import Settings
from streams.wire.registry import ConfluentRegistry
from tests.support.edge_sync import produce, topic_of
from tests.support.registry_server import RegistryServer
from tests.support.report import encoded, report_record, rows_of, verdict_record
from tests.support.waiting import until_true

SOON = Timing(look=0.2, tick=0.1, first_retry=0.1, last_retry=0.2)
FAST = 600.0
"""So many seconds of the registry's are one of the test's; it does not ask again for an id within a minute."""
UNKNOWN_ID = 7_000


def test_it_says_what_it_waits_for_and_goes_on_when_that_is_known(settings: Settings, database: Database) -> None:
    value = encoded("server_report", report_record("new.contoso.com"))
    unknown = value[:1] + UNKNOWN_ID.to_bytes(4, "big") + value[5:]

    async def run(server: RegistryServer) -> None:
        await create_topics(settings)
        await produce(settings, "server_report", {b"contoso/new.contoso.com": unknown})
        registry = ConfluentRegistry(server.url, now=lambda: time.monotonic() * FAST)
        reader = Reader(
            cluster_of(settings), registry, database, topic=lambda name: topic_of(settings, name), timing=SOON
        )
        status = reader.status
        running = asyncio.create_task(reader.run())

        async def waits() -> bool:
            return "unknown schema id 7000" in status.failures.get(REGISTRY, "") and status.lag["server_report"] == 1

        async def has_verdict() -> bool:
            return len(await asyncio.to_thread(rows_of, database, VERDICT)) == 1

        async def has_server() -> bool:
            return len(await asyncio.to_thread(rows_of, database, SERVER)) == 1 and status.state is State.FOLLOWING

        try:
            await until_true(waits)
            assert "unknown schema id 7000" in (not_ready_because(status, wall_clock_ms()) or "")
            verdict = encoded("verdict", verdict_record("other.contoso.com"))
            await produce(settings, "verdict", {b"contoso/other.contoso.com": verdict})
            await until_true(has_verdict)
            assert REGISTRY in status.failures
            assert rows_of(database, SERVER) == rows_of(database, UNREADABLE) == []
            server.answers[UNKNOWN_ID] = server.schema_answer(int.from_bytes(value[1:5], "big"))
            await until_true(has_server)
            assert status.failures == {}
            assert rows_of(database, UNREADABLE) == []
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    with RegistryServer() as server:
        asyncio.run(run(server))
