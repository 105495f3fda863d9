"""The API over databases with servers of two tenants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import Database
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS
from streams.report.store.writer import Writer
from tests.support.notice_history import fill_ledger
from tests.support.report import (
    audit_record,
    batch_of,
    notification_record,
    read_of,
    report_record,
    verdict_record,
)
from tests.support.report_api import FORMULA, ToldEngine, ToldPolicies, application_of


@pytest.fixture
def filled(database: Database) -> Database:
    """Servers of contoso and fabrikam, what they were told, and commands."""
    records = [
        report_record("mx1.contoso.com", status="BLOCKED", stage=3),
        report_record("mx2.contoso.com", status="COMPLIANT", finding="COMPLIANT"),
        report_record("ip:2001:db8::1", status="REPORTED"),
        report_record(FORMULA, status="COMPLIANT", reason="\u202e+1|cmd"),
        report_record("mx1.fabrikam.com", status="THROTTLED", tenant_id="fabrikam"),
    ]
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(records)]
    others = [
        read_of(VERDICTS, 0, verdict_record("mx1.contoso.com")),
        read_of(NOTIFICATIONS, 0, notification_record(1)),
        read_of(NOTIFICATIONS, 1, notification_record(2, tenant_id="fabrikam")),
        read_of(AUDIT, 0, audit_record(1)),
        read_of(AUDIT, 1, audit_record(2, tenant_id="fabrikam")),
    ]
    Writer(database, lambda _: None).write(batch_of([*reads, *others]))
    return database


@pytest.fixture
def engine() -> ToldEngine:
    """What commands go to."""
    return ToldEngine()


@pytest.fixture
def policies() -> ToldPolicies:
    """What is announced."""
    return ToldPolicies()


@pytest.fixture
def told(ledger: Database) -> Database:
    """Destinations of contoso, fabrikam and operators, and what became of notices there."""
    fill_ledger(ledger)
    return ledger


@pytest.fixture
def client(filled: Database, told: Database, engine: ToldEngine, policies: ToldPolicies) -> Iterator[TestClient[Any]]:
    """A client of the application."""
    with TestClient(application_of(filled, told, engine, policies), raise_server_exceptions=False) as opened:
        yield opened
