"""Begins, extends and cancels pauses of a tenant and of its servers.

A pause lasts whole days of 24 hours from its command on; what they cost: see `quota`. Every paused millisecond of a
server is part of a day that was paid, by the tenant's pause or by the server's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streams.domain.policy.ladder import ClockStop
from streams.domain.tenant.quota import PaidDays, QuotaError, Use, check_quota, uncovered
from streams.domain.tenant.state import Pause, TenantEnforcement, running, with_entry
from streams.domain.tenant.waivers import waived_until
from streams.domain.time import DAY_MS, LATEST_MS


def pause_tenant(tenant: TenantEnforcement, at: int, days: int, quota: int) -> TenantEnforcement:
    """Pause every server of a tenant for `days`, or extend the pause that runs.

    Raises:
        QuotaError: a calendar year has not so many days left.
    """
    current = running(tenant.pauses, at)
    begin = current.ends_at if current else at
    _check_end(begin, days)
    paid = (PaidDays(begin, days),)
    check_quota(tenant.use(), paid, quota)
    return replace(tenant, pauses=_with(tenant.pauses, current, begin, days, paid))


def pause_server(tenant: TenantEnforcement, server: str, at: int, days: int, quota: int) -> TenantEnforcement:
    """Pause one server; days that a pause of the tenant covers entirely cost nothing.

    Raises:
        QuotaError: a calendar year has not so many days left.
    """
    own = tenant.server_pauses.get(server, ())
    current = running(own, at)
    begin = current.ends_at if current else at
    _check_end(begin, days)
    paid = tuple(uncovered(PaidDays(begin, days), (pause.span for pause in tenant.pauses)))
    check_quota(tenant.use(), paid, quota)
    return _with_own(tenant, server, _with(own, current, begin, days, paid))


def _check_end(begin: int, days: int) -> None:
    if begin + days * DAY_MS > LATEST_MS:
        raise QuotaError(f"days: {days}: the pause would end after 2099")


def _with(
    pauses: tuple[Pause, ...], current: Pause | None, begin: int, days: int, paid: tuple[PaidDays, ...]
) -> tuple[Pause, ...]:
    end = begin + days * DAY_MS
    # The days of a pause are counted from its beginning: one that did not end with a whole day is not made longer.
    if current is None or (current.ends_at - current.starts_at) % DAY_MS:
        return (*pauses, Pause(begin, end, paid))
    longer = Pause(current.starts_at, end, joined_days((*current.paid, *paid)))
    return tuple(longer if pause is current else pause for pause in pauses)


def _with_own(tenant: TenantEnforcement, server: str, pauses: tuple[Pause, ...]) -> TenantEnforcement:
    return replace(tenant, server_pauses=with_entry(tenant.server_pauses, server, pauses))


def joined_days(paid: Iterable[PaidDays]) -> tuple[PaidDays, ...]:
    """The same days in as few parts as there are gaps."""
    joined: list[PaidDays] = []
    for days in sorted(paid):
        if joined and joined[-1].ends_at == days.starts_at:
            joined[-1] = joined[-1]._replace(days=joined[-1].days + days.days)
        else:
            joined.append(days)
    return tuple(joined)


def cancel_pause(tenant: TenantEnforcement, server: str | None, at: int, quota: int) -> TenantEnforcement | None:
    """End what pauses the tenant, or one server; days not begun go back. None when nothing runs.

    A command that comes late ends it where the tenant's clock is: until then the edge has honoured it. Days of a
    server's pause were free while the tenant's pause covered them. Without that cover they cost quota like any other
    day, the one that has begun too; a pause for which none is left ends there.
    """
    pauses = tenant.pauses if server is None else tenant.server_pauses.get(server, ())
    until = waived_until((pause.span for pause in pauses), at)
    if until is None:
        return None
    end = max(at, tenant.clock_at)
    ended = [pause.cut(end) if pause.starts_at < until and pause.ends_at > at else pause for pause in pauses]
    if server is not None:
        return _with_own(tenant, server, tuple(ended))
    cancelled = replace(tenant, pauses=tuple(pause for pause in ended if pause.starts_at < pause.ends_at))
    spans, use = [pause.span for pause in cancelled.pauses], cancelled.use()
    own = {
        name: tuple(_paid_for(pause, spans, end, use, quota) for pause in pauses)
        for name, pauses in sorted(tenant.server_pauses.items())
    }
    return replace(cancelled, server_pauses=own)


def _paid_for(pause: Pause, spans: Sequence[ClockStop], end: int, use: Use, quota: int) -> Pause:
    """A server's pause, whose days from the one on that `end` lies in are paid where spans do not cover them."""
    if pause.ends_at <= end:
        return pause
    begun = max(0, (end - pause.starts_at) // DAY_MS)
    days = PaidDays(pause.starts_at + begun * DAY_MS, (pause.ends_at - pause.starts_at) // DAY_MS - begun)
    known = [ClockStop(paid.starts_at, paid.ends_at) for paid in pause.paid]
    for missing in uncovered(days, (*spans, *known)):
        paid = use.affordable(missing, quota)
        use.add((paid,))
        pause = pause._replace(paid=joined_days((*pause.paid, *((paid,) if paid.days else ()))))
        if paid.days < missing.days:
            shorter = pause.cut(max(end, paid.ends_at))
            use.add(pause.paid, -1)
            use.add(shorter.paid)
            return shorter
    return pause
