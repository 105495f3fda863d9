"""What an announced policy will do to the servers that the tables have."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from streams.database.database import Database
from streams.domain.time import DAY_MS
from streams.policies.configured import policy_topic_of
from streams.policies.files import read_policy
from streams.policies.topic import Published
from streams.report.model.batch import SERVERS
from streams.report.queries.cursors import ensure_key
from streams.report.queries.reports import list_reports
from streams.report.rules import RulesInForce
from streams.report.store.tables import SERVER
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from streams.wire.codec import AvroCodec
from streams.wire.policy import from_millis
from tests.support.hanging_registry import HangingRegistry
from tests.support.memory_topic import TOPIC, MemoryLog, MemoryTopic, Partition
from tests.support.report import START, batch_of, read_of, report_record
from tests.support.report_api import ToldEngine, application_of, bearer

NOW = START + DAY_MS
COMING = NOW + 30 * DAY_MS


@pytest.fixture
def rules() -> RulesInForce:
    """The policy of 2026 in force; that of 2023, which accepts more, begins in thirty days."""
    found = RulesInForce(policy_topic_of(ReportSettings()), [read_policy("microsoft-2026-09")])
    lenient = replace(read_policy("microsoft-2023"), policy_id="lenient", effective_at=from_millis(COMING))
    found._take(Published((lenient,)))
    return found


def test_what_it_hits_follows_from_the_rows_that_the_tables_have(database: Database, rules: RulesInForce) -> None:
    records = [report_record(f"mx{number}.contoso.com", status="REPORTED", stage=1) for number in range(3)]
    Writer(database, lambda _: None).write(batch_of([read_of(SERVERS, n, one) for n, one in enumerate(records)]))
    with database.writing() as connection:
        # As a newer version would write it.
        newer = update(SERVER).where(SERVER.c.server == "mx1.contoso.com")
        connection.execute(newer.values(detail='{"new_field": 1}'))
    key = ensure_key(database)
    with database.reading("contoso") as connection:
        page = list_reports(connection, "contoso", key=key)
    (announced,) = rules.announced(NOW)
    assert (announced.name, announced.effective_at, announced.mode) == ("lenient/1", COMING, "ENFORCE")
    hits = rules.hits(page.rows, "lenient/1", NOW)
    assert [(hit.server, hit.finding_before, hit.finding_after) for hit in hits] == [
        ("mx0.contoso.com", "OUT_OF_DATE", "COMPLIANT"),
        ("mx2.contoso.com", "OUT_OF_DATE", "COMPLIANT"),
    ]
    assert {(hit.remedy_name, hit.remedy_kb) for hit in hits} == {(None, None)}


def test_what_it_hits_is_told_which_update_it_will_need() -> None:
    strict = replace(read_policy("microsoft-2026-09"), policy_id="strict", effective_at=from_millis(COMING))
    rules = RulesInForce(policy_topic_of(ReportSettings()), [read_policy("microsoft-2023")])
    rules._take(Published((strict,)))
    (hit,) = rules.hits([report_record("mx1.contoso.com", status="COMPLIANT", finding="COMPLIANT")], "strict/1", NOW)
    assert (hit.finding_before, hit.finding_after) == ("COMPLIANT", "OUT_OF_DATE")
    assert (hit.remedy_name, hit.remedy_kb) == ("Exchange Server 2016 CU23 Oct25SU", "KB5066369")


def test_callers_are_answered_while_the_registry_hangs(
    database: Database, ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = MemoryTopic([Partition()])
    topic.append(b"1", b"\x00" + (4242).to_bytes(4, "big"))
    monkeypatch.setattr("streams.policies.reader.KafkaLog", lambda *_, **__: MemoryLog(topic))

    async def scenario() -> tuple[int, bool]:
        registry = HangingRegistry(asyncio.get_running_loop())
        about = replace(
            policy_topic_of(ReportSettings()), catalogues_topic=TOPIC, catalogues=AvroCodec("catalogue", registry)
        )
        rules = RulesInForce(about, [read_policy("microsoft-2026-09")])
        application: Any = application_of(database, ledger, ToldEngine(), rules)
        following = asyncio.create_task(rules.run())
        transport = httpx.ASGITransport(application)
        try:
            await registry.is_asked.wait()
            async with httpx.AsyncClient(transport=transport, base_url="http://report.local") as client:
                answer = await client.get("/v1/policies/announced", headers=bearer("reader"))
            is_hanging = registry.is_hanging
        finally:
            registry.may_answer.set()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        return answer.status_code, is_hanging

    assert asyncio.run(scenario()) == (200, True), "the loop waited for the registry"
