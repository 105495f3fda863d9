"""Pauses and exceptions, by what the audit records of their commands say: those that run, and those that were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, select

from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.quota import PaidDays, Use, YearUse, year_of
from streams.domain.tenant.state import Pause, TenantEnforcement
from streams.domain.time import DAY_MS
from streams.report.queries.messages import WITH_SUBJECT, Audited
from streams.report.store.tables import AUDIT, COMMAND
from streams.wire.records import parse_moment

KINDS: Final = (
    CommandKind.PAUSE_CREATE,
    CommandKind.PAUSE_CANCEL,
    CommandKind.PAUSE_SERVER,
    CommandKind.EXCEPTION_GRANT,
    CommandKind.EXCEPTION_REVOKE,
)


class Waiver(NamedTuple):
    """A pause or an exception: of a server, or of the whole tenant where `server` is None."""

    kind: str
    server: str | None
    starts_at: int
    ends_at: int
    issued_by: str
    owner: str | None


_LATEST: Final = 50
"""Commands among which the quota is looked for; the engine tells it with each of a tenant."""
PAUSE, EXCEPTION = "PAUSE", "EXCEPTION"


class Pauses(NamedTuple):
    """Pauses and exceptions of a tenant, those that end last first; and its quota by the last command about it."""

    waivers: list[Waiver]
    quota_left_days: int | None
    quota_at: int | None


def pauses_of(connection: Connection, tenant: str) -> Pauses:
    """What a tenant has paused and excepted, as far back as history goes.

    The quota is of the calendar year (UTC) of `quota_at`, the moment of the last command.
    """
    columns = AUDIT.c
    order = (columns.occurred_at, columns.audit_id)
    here = (columns.tenant_id == tenant, columns.kind.in_(KINDS))
    accepted = (
        select(columns.detail, COMMAND.c.server)
        .select_from(WITH_SUBJECT)
        .where(*here, columns.outcome == CommandOutcome.ACCEPTED)
        .order_by(*order)
    )
    audited = [Audited(orjson.loads(row[0]), row[1]) for row in connection.execute(accepted)]
    # Refused ones may be many, and tell of the quota too.
    latest = select(columns.detail).where(*here).order_by(*(column.desc() for column in order)).limit(_LATEST)
    records = (orjson.loads(detail) for (detail,) in connection.execute(latest))
    last = next((one for one in records if one.get("quota_left_days") is not None), None)
    at, days = (last["occurred_at"], last["quota_left_days"]) if last else (None, None)
    waivers = sorted(_folded(audited), key=lambda one: (one.ends_at, one.starts_at), reverse=True)
    return Pauses(waivers, days, at)


def _folded(audited: Iterable[Audited]) -> list[Waiver]:
    """Each span as the last command about its subject left it."""
    found: dict[tuple[str, str | None, int], Waiver] = {}
    for record, server in audited:
        before, after = _spans(record, "before", server), _spans(record, "after", server)
        for place in before.keys() - after.keys():
            # It was not over, and is not there any more: it was cancelled before it had begun.
            found.pop(place, None)
        for place, span in after.items():
            known = found.get(place)
            found[place] = span if known is None else known._replace(ends_at=span.ends_at)
    return list(found.values())


def _spans(record: dict[str, Any], name: str, server: str | None) -> dict[tuple[str, str | None, int], Waiver]:
    shown = orjson.loads(record.get(name) or "{}")
    if "exceptions" not in shown:
        server = None
    spans = {}
    for kind, field in ((PAUSE, "pauses"), (EXCEPTION, "exceptions")):
        for span in shown.get(field, ()):
            starts_at, ends_at = (parse_moment(end, span[end]) for end in ("starts_at", "ends_at"))
            waiver = Waiver(kind, server, starts_at, ends_at, record["issued_by"], span.get("owner"))
            spans[kind, server, starts_at] = waiver
    return spans


def is_paused(pauses: Pauses, now: int) -> bool:
    """Whether a pause of the whole tenant runs at a moment."""
    return any(
        one.kind == PAUSE and one.server is None and one.starts_at <= now < one.ends_at for one in pauses.waivers
    )


def quota_left(pauses: Pauses, days_per_year: int, now: int) -> int:
    """Days of pause that are left in the calendar year (UTC) of a moment."""
    return enforcement_of(pauses, days_per_year).left_days(year_of(now), days_per_year)


def enforcement_of(pauses: Pauses, days_per_year: int) -> TenantEnforcement:
    """What is known of a tenant's pauses, in the form of the engine's rules.

    What the year of the last command has left is what the engine said then. Other years cost what begins in them.
    """
    spans = [one for one in pauses.waivers if one.kind == PAUSE]
    own: dict[str, tuple[Pause, ...]] = {}
    for one in spans:
        if one.server is not None:
            own[one.server] = (*own.get(one.server, ()), Pause(one.starts_at, one.ends_at))
    cost = Use({})
    cost.add(PaidDays(one.starts_at, (one.ends_at - one.starts_at) // DAY_MS) for one in spans)
    used = dict(cost.years)
    if pauses.quota_left_days is not None and pauses.quota_at is not None:
        gone = max(0, days_per_year - pauses.quota_left_days)
        used[year_of(pauses.quota_at)] = YearUse(gone, gone * DAY_MS)
    whole = tuple(Pause(one.starts_at, one.ends_at) for one in spans if one.server is None)
    return TenantEnforcement("", pauses=whole, server_pauses=own, used=used)
