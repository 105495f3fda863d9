"""What an announced policy will do to the servers that the tables have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from streams.domain.time import DAY_MS
from streams.policies.configured import policy_topic_of
from streams.policies.files import read_policy
from streams.policies.topic import Published
from streams.report.model.batch import SERVERS
from streams.report.queries.cursors import ensure_key
from streams.report.queries.reports import list_reports
from streams.report.rules import RulesInForce
from streams.report.store.database import Database
from streams.report.store.tables import SERVER
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from streams.wire.policy import from_millis
from tests.support.report import START, batch_of, read_of, report_record

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
