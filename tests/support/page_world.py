"""A report's page over two small tenants: rows by the real writer, ports that remember what they were told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.types import ASGIApp, Receive, Scope, Send

from streams.database.database import Database
from streams.domain.policy.ladder import Clock, ClockStop, schedule
from streams.domain.time import DAY_MS, HOUR_MS, iso
from streams.notices.opening import open_ledger
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.report.access.callers import AccessRole, Caller
from streams.report.access.middleware import Identification
from streams.report.access.site import Site
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS, Read
from streams.report.page.routes import page_handlers
from streams.report.page.visits import PagePorts
from streams.report.store.upkeep import note_current
from streams.report.store.writer import Writer
from streams.report.web.application import make_application
from streams.report.web.coming import AnnouncedPolicy, Hit
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind
from streams.report.web.ledger import Ledger
from streams.report.web.read_model import ReadModel
from streams.settings.database import DatabaseSettings
from tests.support.report import (
    START,
    audit_record,
    batch_of,
    notification_record,
    read_of,
    report_record,
    verdict_record,
)

NOW = START + 84 * DAY_MS + 9 * HOUR_MS
"""A morning in November 2026."""
LINE = (
    "from EX03.contoso.com (10.1.2.3) by {server} (10.1.2.4) with Microsoft SMTP Server (version=TLS1_2,\r\n"
    "\tcipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.39; Thu, 26 Nov 2026 08:00:00 +0000"
)
HOSTILE = "helo:<script>alert(1)</script>&amp;\u202egnp.exe"
CSRF = "c5rf-token"
READER = Caller("s1", "Rita Reader", AccessRole.TENANT_READER, "contoso")
ADMIN = Caller("s2", "Ada Admin", AccessRole.TENANT_ADMIN, "contoso")
OTHER = Caller("s3", "Otto Other", AccessRole.TENANT_ADMIN, "fabrikam")
OPERATOR = Caller("s4", "Olga Operator", AccessRole.OPERATOR, None)
COMING = AnnouncedPolicy("microsoft-2027/2", NOW + 30 * DAY_MS, NOW - DAY_MS, "ENFORCE")


class Session(NamedTuple):
    """What a session's requests carry."""

    csrf_token: str | None = CSRF


@dataclass
class Engine:
    """Stands in for the engine behind the page's ports: accepts, and writes the audit record as it would."""

    database: Database
    submitted: list[tuple[Caller, str, dict[str, Any]]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    refusal: str | None = None
    is_silent: bool = False
    late_seconds: float = 0.3
    """When the tables have what it has answered."""
    is_away: bool = False
    policies: list[AnnouncedPolicy] = field(default_factory=lambda: [COMING])
    offset: int = 2
    ledger: Database = field(default_factory=lambda: open_ledger(DatabaseSettings(directory="/none/here")))

    async def submit(self, caller: Caller, tenant: str, command: dict[str, Any]) -> Outcome:
        if self.is_away:
            raise CommandsUnavailableError("away")
        is_known = any(one["command_id"] == command["command_id"] for _, _, one in self.submitted)
        self.submitted.append((caller, tenant, command))
        if self.is_silent:
            return Outcome(command["command_id"], OutcomeKind.PENDING)
        if not is_known:
            self.offset += 1
            record = audit_record(
                self.offset,
                command_id=command["command_id"],
                tenant_id=tenant,
                kind=command["kind"],
                outcome="REFUSED" if self.refusal else "ACCEPTED",
                reason=self.refusal,
                quota_left_days=76,
            )
            read = read_of(AUDIT, self.offset, record)
            asyncio.get_running_loop().call_later(self.late_seconds, self._write, read)
        kind = OutcomeKind.REFUSED if self.refusal else OutcomeKind.ACCEPTED
        return Outcome(command["command_id"], kind, self.refusal, 76)

    def _write(self, read: Read) -> None:
        Writer(self.database, lambda _: None).write(batch_of([read]))

    async def dead_letters(self) -> int | None:
        return 3

    async def release_all(self, caller: Caller, reason: str) -> Outcome:
        self.released.append(reason)
        return Outcome("", OutcomeKind.REFUSED if self.refusal else OutcomeKind.ACCEPTED, self.refusal)

    def quota_days(self, now: int) -> int:
        return 90

    def announced(self, now: int) -> list[AnnouncedPolicy]:
        return self.policies

    def hits(self, reports: Sequence[dict[str, Any]], name: str, now: int) -> list[Hit]:
        assert name == COMING.name
        reason = "Exchange Server 2019 CU15 is out of date."
        hit = {one["server"]: one["build"] for one in reports if one["server"] == "mx07.contoso.com"}
        after = (
            "COMPLIANT",
            "OUT_OF_DATE",
            0,
            1,
            "ACCEPT",
            "ACCEPT",
            reason,
            "Exchange Server 2019 CU15 Oct25SU",
            "KB5066367",
        )
        return [Hit(server, build, *after) for server, build in hit.items()]


def application_for(
    engine: Engine, caller: Caller, session: Session | None = None, *, is_secure: bool = False
) -> Litestar:
    """The application as somebody sees it who has signed in; `is_secure`: at an address with HTTPS."""

    def identify(app: ASGIApp) -> ASGIApp:
        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"], scope["auth"] = caller, session or Session()
            await app(scope, receive, send)

        return identified

    return make_application(page_handlers(ports_of(engine, is_secure)), identify, {}, requests_a_minute=100_000)


def strangers_application(engine: Engine) -> Litestar:
    """The application as somebody sees it who has not signed in and brings no token."""
    identify = Identification(None, None, Site("https://report.example"), time.monotonic)
    return make_application(page_handlers(ports_of(engine)), identify, {}, requests_a_minute=1)


def ports_of(engine: Engine, is_secure: bool = False) -> PagePorts:
    """What the page works with."""
    return PagePorts(
        read_model=ReadModel(engine.database),
        commands=engine,
        coming=engine,
        operating=engine,
        clock=lambda: NOW,
        catalogue=shipped_catalogue(),
        is_secure=is_secure,
        ledger=Ledger(engine.ledger),
    )


def evidence_record(server: str, line: str | None = LINE, **changes: Any) -> dict[str, Any]:
    """The evidence of a server's report."""
    return {
        "received": line and line.format(server=server),
        "position": 0,
        "protocol": "Microsoft SMTP Server",
        "event_id": "e1",
        "message_id": "<1@contoso.com>",
        "connector_id": "onprem-1",
        "source_ip": "192.0.2.25",
        "observed_at": NOW - 2 * HOUR_MS,
        **changes,
    }


LADDER = read_policy("microsoft-2026-09").ladder


def _stages(detected_at: int, stops: Sequence[ClockStop] = ()) -> list[dict[str, Any]]:
    return [
        {
            "stage": one.stage,
            "starts_at": one.starts_at,
            "throttle_minutes_per_hour": one.throttle_minutes_per_hour,
            "block_minutes_per_hour": one.block_minutes_per_hour,
        }
        for one in schedule(LADDER, Clock(0, detected_at), tuple(stops))
    ]


def life_of(server: str, detected_at: int, until: int = NOW, stop: ClockStop | None = None) -> list[dict[str, Any]]:
    """The reports of a server that nobody updates, one a day from its first detection on."""
    stops = [] if stop is None else [stop]
    stages = _stages(detected_at, stops)
    reports = []
    accepted = deferred = rejected = 0
    for at in range(detected_at, until + 1, DAY_MS):
        reached = [one for one in stages if one["starts_at"] <= at]
        coming = [one for one in stages if one["starts_at"] > at]
        now = reached[-1]
        throttle, block = now["throttle_minutes_per_hour"], now["block_minutes_per_hour"]
        deferred += throttle // 3
        rejected += block // 3
        accepted += 40 - throttle // 3 - block // 3
        status = "BLOCKED" if block else "THROTTLED" if throttle else "REPORTED"
        is_paused = stop is not None and stop.starts_at <= at < stop.ends_at
        blocking = next(one["starts_at"] for one in stages if one["block_minutes_per_hour"])
        following = coming[0] if coming else None
        reports.append(
            report_record(
                server,
                at,
                status="PAUSED" if is_paused else status,
                stage=now["stage"],
                first_seen_at=detected_at,
                first_detected_date=detected_at,
                blocking_enabled_date=blocking,
                next_stage_start_date=following and following["starts_at"],
                next_stage_throttle_rate=following and following["throttle_minutes_per_hour"],
                next_stage_block_rate=following and following["block_minutes_per_hour"],
                schedule=coming,
                clock_elapsed_ms=0,
                clock_started_at=detected_at,
                standstills=[one._asdict() for one in stops],
                paused_until=stop.ends_at if is_paused and stop else None,
                evidence=evidence_record(server),
                cves=["CVE-2024-21410", "CVE-2025-53786"],
                support_ends_on=(date(2025, 10, 14) - date(1970, 1, 1)).days,
                connections=accepted + deferred + rejected,
                accepted=accepted,
                deferred=deferred,
                rejected=rejected,
            )
        )
    return reports


def _good(server: str, since: int, **changes: Any) -> list[dict[str, Any]]:
    facts = {
        "status": "COMPLIANT",
        "finding": "COMPLIANT",
        "build": "15.2.1748.39",
        "build_name": "Exchange Server 2019 CU15 Oct25SU",
        "exchange_server": "Exchange Server 2019",
        "remedy": None,
        "cves": [],
        "recommended_build_versions": [],
        "evidence": evidence_record(server),
        **changes,
    }
    reports = []
    for n, at in enumerate(range(since, NOW + 1, DAY_MS), start=1):
        moving = {"connections": 25 * n, "accepted": 25 * n}
        reports.append(report_record(server, at, first_seen_at=since, **{**moving, **facts}))
    return reports


def fill(database: Database) -> None:
    """Rows of the two tenants: every status, pauses, exceptions, notices, a hostile name."""
    paused = ClockStop(NOW - 3 * DAY_MS, NOW + 4 * DAY_MS)
    reports = [
        *life_of("ex01.contoso.com", START - 5 * DAY_MS),
        *life_of("ex03.contoso.com", NOW - 48 * DAY_MS),
        *life_of("mail-gateway-with-quite-a-long-name.branch-office.emea.contoso.com", NOW - 12 * DAY_MS),
        *life_of("ex05.contoso.com", NOW - 40 * DAY_MS, stop=paused),
    ]
    mixed = life_of("mail.contoso.com", NOW - 33 * DAY_MS)
    other = evidence_record("mail.contoso.com", LINE.replace("2507.39", "2507.61"), source_ip="192.0.2.77")
    mixed[-1] |= {
        "status": "MIXED",
        "refused_at": NOW - HOUR_MS,
        "accepted_build": "15.1.2507.61",
        "accepted_at": NOW - HOUR_MS,
        "accepted_evidence": other,
    }
    reports += mixed
    for number in range(7, 16):
        reports += _good(f"mx{number:02}.contoso.com", START + 3 * number * DAY_MS)
    reports += _good("ex09.contoso.com", START, status="EXEMPT", finding="OUT_OF_DATE", exempt_until=NOW + 20 * DAY_MS)
    odd = {"build": None, "build_name": None, "exchange_server": None}
    reports += _good(HOSTILE, NOW - DAY_MS, status="UNDETERMINED", finding="UNDETERMINED", identity="HELO", **odd)
    reports += [report_record("old.contoso.com", START + DAY_MS, status="VANISHED")]
    reports += _good("secret.fabrikam.com", START, tenant_id="fabrikam", override_until=NOW + 9 * DAY_MS)
    reports.sort(key=lambda one: int(one["reported_at"]))
    reads = [read_of(SERVERS, offset, record) for offset, record in enumerate(reports)]
    latest = {record["server"]: record for record in reports}
    verdicts = []
    for record in latest.values():
        is_held = record["status"] == "PAUSED" or not record["stage"]
        rates = LADDER[0] if is_held else LADDER[record["stage"] - 1]
        verdicts.append(
            verdict_record(
                record["server"],
                tenant_id=record["tenant_id"],
                stage=record["stage"],
                throttle_minutes_per_hour=rates.throttle_minutes_per_hour,
                block_minutes_per_hour=rates.block_minutes_per_hour,
            )
        )
    reads += [read_of(VERDICTS, offset, record) for offset, record in enumerate(verdicts)]
    reads += _messages(paused)
    Writer(database, lambda _: None).write(batch_of(reads))
    note_current(database, NOW - 12_000)


def _messages(paused: ClockStop) -> list[Read]:
    told = [
        notification_record(0, kind="SERVER_DETECTED", server="ex03.contoso.com", occurred_at=NOW - 48 * DAY_MS),
        notification_record(
            1,
            kind="STAGE_ENTERED",
            server="ex03.contoso.com",
            occurred_at=NOW - 8 * DAY_MS,
            throttle_minutes_per_hour=10,
            block_minutes_per_hour=0,
            next_stage_at=NOW + 2 * DAY_MS,
            remedy={"name": "Exchange Server 2016 CU23 Oct25SU", "kb": "KB5066369"},
        ),
        notification_record(
            2,
            kind="PAUSE_STARTED",
            server="ex05.contoso.com",
            command_id="c0",
            severity="INFO",
            occurred_at=paused.starts_at,
            paused_until=paused.ends_at,
        ),
        notification_record(3, kind="COMMAND_REFUSED", server=None, title="No", text="days: 200", occurred_at=NOW),
    ]
    span = {"starts_at": iso(paused.starts_at), "ends_at": iso(paused.ends_at)}
    after = json.dumps({"pauses": [span], "exceptions": [], "override": None})
    done = [
        audit_record(0, kind="PAUSE_SERVER", after=after, quota_left_days=83, occurred_at=paused.starts_at),
        audit_record(
            1,
            outcome="REFUSED",
            reason="days: 200 of 2026: only 83 of 90 days are left in that year",
            quota_left_days=83,
            occurred_at=NOW - HOUR_MS,
        ),
        audit_record(2, tenant_id="*", command_id=None, kind="POLICY_PUBLISHED", reason="the floor of autumn"),
    ]
    reads = [read_of(NOTIFICATIONS, offset, record) for offset, record in enumerate(told)]
    return [*reads, *(read_of(AUDIT, offset, record) for offset, record in enumerate(done))]
