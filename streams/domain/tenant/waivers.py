"""Pauses and exceptions of one tenant.

A pause lasts whole days of 24 hours from its command on; what they cost: see `quota`. Every paused millisecond of a
server is part of a day that was paid, by the tenant's pause or by the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self, TypeVar

from streams.domain.policy.ladder import ClockStop
from streams.domain.policy.policy import MAX_LADDER_DAYS
from streams.domain.tenant.quota import PaidDays, QuotaError, Use, YearUse, check_quota, uncovered, union_of
from streams.domain.time import DAY_MS, LATEST_MS

KEPT_PAUSES: Final = 366
"""Pauses over that are remembered of a tenant, and of each server; of more, the oldest two become as long a one."""
KEPT_EXCEPTIONS: Final = 32
"""The same for the exceptions of a server, which cost no quota."""
MAX_KEPT_BYTES: Final = 256 * 1024
"""What the pauses and exceptions of a tenant may take together, about as they are stored."""
_SPAN_BYTES: Final = 64


class Waivers(NamedTuple):
    """What stands between one server and enforcement."""

    pauses: tuple[ClockStop, ...] = ()
    exceptions: tuple[ClockStop, ...] = ()

    def clock_stops(self) -> tuple[ClockStop, ...]:
        """Every span in which enforcement time stands still."""
        return self.pauses + self.exceptions

    def until(self, moment: int) -> int | None:
        """Until when the server is covered without a gap, None when it is not covered at `moment`."""
        return waived_until(self.clock_stops(), moment)


NO_WAIVERS = Waivers()


def waived_until(spans: Iterable[ClockStop], moment: int) -> int | None:
    """Until when spans cover `moment` and what follows without a gap, None when none covers it."""
    reached = moment
    for starts_at, ends_at in sorted(spans):
        if starts_at <= reached < ends_at:
            reached = ends_at
    return reached if reached > moment else None


class Pause(NamedTuple):
    """A pause with the days of it that cost quota and may still be given back, all in UTC milliseconds."""

    starts_at: int
    ends_at: int
    paid: tuple[PaidDays, ...] = ()

    @property
    def span(self) -> ClockStop:
        """The span in which enforcement time stands still."""
        return ClockStop(self.starts_at, self.ends_at)

    def cut(self, at: int) -> Pause:
        """The same, ended at `at` at the latest; days that begin later are not paid."""
        paid = (days.begun_before(at) for days in self.paid)
        ends_at = max(self.starts_at, min(self.ends_at, at))
        return Pause(self.starts_at, ends_at, tuple(days for days in paid if days.days))

    def moved(self, starts_at: int, ends_at: int) -> Self:
        """The same over another span."""
        return self._replace(starts_at=starts_at, ends_at=ends_at)


class ExceptionGrant(NamedTuple):
    """A long-term exception of one server, with who answers for it and why."""

    starts_at: int
    ends_at: int
    owner: str
    reason: str

    def moved(self, starts_at: int, ends_at: int) -> Self:
        """The same over another span."""
        return self._replace(starts_at=starts_at, ends_at=ends_at)


_Span = TypeVar("_Span", Pause, ExceptionGrant)


@dataclass(frozen=True, slots=True)
class TenantEnforcement:
    """What is remembered of a tenant; `server` keys of the mappings, moments in UTC milliseconds.

    `used` holds what the days of pauses that are over have cost by calendar year: nothing gives them back.
    """

    tenant_id: str
    clock_at: int = 0
    pauses: tuple[Pause, ...] = ()
    server_pauses: Mapping[str, tuple[Pause, ...]] = field(default_factory=dict)
    exceptions: Mapping[str, tuple[ExceptionGrant, ...]] = field(default_factory=dict)
    seen_commands: tuple[int, ...] = ()
    used: Mapping[int, YearUse] = field(default_factory=dict)

    def waivers_of(self, server: str) -> Waivers:
        """What covers a server: the tenant's pauses, its own, and its exceptions."""
        own = self.server_pauses.get(server, ())
        grants = self.exceptions.get(server, ())
        return Waivers(
            tuple(pause.span for pause in (*self.pauses, *own)),
            tuple(ClockStop(grant.starts_at, grant.ends_at) for grant in grants),
        )

    def use(self) -> Use:
        """What every calendar year has cost so far."""
        use = Use(self.used)
        for pauses in (self.pauses, *self.server_pauses.values()):
            for pause in pauses:
                use.add(pause.paid)
        return use

    def used_days(self, year: int) -> int:
        """How many days of quota a calendar year has cost."""
        return self.use().of(year).days

    def left_days(self, year: int, quota: int) -> int:
        """How many whole days of a calendar year may still be paused."""
        return self.use().of(year).left_days(quota)

    @property
    def kept_bytes(self) -> int:
        """About how many bytes the pauses and exceptions take where they are stored."""
        owners: list[Mapping[str, Sequence[Pause | ExceptionGrant]]] = [self.server_pauses, self.exceptions]
        names = sum(len(name.encode()) + _SPAN_BYTES for spans in owners for name in spans)
        pauses = sum(len(pauses) for pauses in self.server_pauses.values()) + len(self.pauses)
        texts = sum(
            _SPAN_BYTES + len(item.owner.encode()) + len(item.reason.encode())
            for grants in self.exceptions.values()
            for item in grants
        )
        return names + pauses * _SPAN_BYTES + texts


def running(pauses: Iterable[Pause], moment: int) -> Pause | None:
    """The pause that runs at a moment; where others follow it without a gap, the last of them."""
    every = tuple(pauses)
    until = waived_until((pause.span for pause in every), moment)
    return next((pause for pause in every if pause.ends_at == until), None)


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
    longer = Pause(current.starts_at, end, _joined((*current.paid, *paid)))
    return tuple(longer if pause is current else pause for pause in pauses)


def _with_own(tenant: TenantEnforcement, server: str, pauses: tuple[Pause, ...]) -> TenantEnforcement:
    return replace(tenant, server_pauses=_with_entry(tenant.server_pauses, server, pauses))


def _with_entry(
    entries: Mapping[str, tuple[_Span, ...]], server: str, spans: Iterable[_Span]
) -> dict[str, tuple[_Span, ...]]:
    # A span that ends as it begins covers and costs nothing; any number of them would make a tenant's state grow.
    kept = tuple(span for span in spans if span.starts_at < span.ends_at)
    others = {name: found for name, found in entries.items() if name != server}
    return {**entries, server: kept} if kept else others


def _joined(paid: Iterable[PaidDays]) -> tuple[PaidDays, ...]:
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
        pause = pause._replace(paid=_joined((*pause.paid, *((paid,) if paid.days else ()))))
        if paid.days < missing.days:
            shorter = pause.cut(max(end, paid.ends_at))
            use.add(pause.paid, -1)
            use.add(shorter.paid)
            return shorter
    return pause


def grant(tenant: TenantEnforcement, server: str, granted: ExceptionGrant) -> TenantEnforcement:
    """Except one server; the new exception takes the place of one that holds already."""
    grants = tenant.exceptions.get(server, ())
    current = _holding(grants, granted.starts_at)
    if current is not None:
        granted = granted._replace(starts_at=current.starts_at)
    kept = (item for item in grants if item is not current)
    return replace(tenant, exceptions=_with_entry(tenant.exceptions, server, (*kept, granted)))


def revoke(tenant: TenantEnforcement, server: str, at: int) -> TenantEnforcement | None:
    """End the exception of a server; None when none holds."""
    grants = tenant.exceptions.get(server, ())
    current = _holding(grants, at)
    if current is None:
        return None
    ended = (item._replace(ends_at=at) if item is current else item for item in grants)
    return replace(tenant, exceptions=_with_entry(tenant.exceptions, server, ended))


def _holding(grants: Iterable[ExceptionGrant], at: int) -> ExceptionGrant | None:
    return next((item for item in grants if item.starts_at <= at < item.ends_at), None)


# --- what is over ---


def settle(tenant: TenantEnforcement) -> TenantEnforcement:
    """Add what the pauses that are over have cost to their years, and drop what was over ten years ago.

    No ladder is longer, so no date depends on it any more. Nothing else changes: what covers a server stays the same.
    """
    clock, earliest = tenant.clock_at, tenant.clock_at - MAX_LADDER_DAYS * DAY_MS
    every = [*tenant.pauses, *(pause for pauses in tenant.server_pauses.values() for pause in pauses)]
    if any(pause.paid and pause.ends_at <= clock for pause in every):
        use = Use(tenant.used)
        for pause in every:
            use.add(pause.paid if pause.ends_at <= clock else ())
        settled = {name: _settled(pauses, clock) for name, pauses in tenant.server_pauses.items()}
        tenant = replace(
            tenant, pauses=_settled(tenant.pauses, clock), server_pauses=settled, used=dict(sorted(use.years.items()))
        )
    grants = (item for items in tenant.exceptions.values() for item in items)
    if any(span.ends_at <= earliest for spans in (every, grants) for span in spans):
        tenant = _without(tenant, earliest)
    return tenant


def _settled(pauses: tuple[Pause, ...], clock: int) -> tuple[Pause, ...]:
    return tuple(pause._replace(paid=()) if pause.ends_at <= clock else pause for pause in pauses)


def _without(tenant: TenantEnforcement, earliest: int) -> TenantEnforcement:
    own = {name: tuple(item for item in kept if item.ends_at > earliest) for name, kept in tenant.server_pauses.items()}
    grants = {name: tuple(item for item in kept if item.ends_at > earliest) for name, kept in tenant.exceptions.items()}
    return replace(
        tenant,
        pauses=tuple(pause for pause in tenant.pauses if pause.ends_at > earliest),
        server_pauses={name: kept for name, kept in own.items() if kept},
        exceptions={name: kept for name, kept in grants.items() if kept},
    )


def settle_subject(tenant: TenantEnforcement, server: str | None) -> TenantEnforcement:
    """Bound what is remembered of the tenant, or of one server.

    A server's pause that is over goes where a pause of the tenant covers it. Of more than are kept the oldest two
    become one as long as both, which ends with the second: the clock of every server that was there before the first
    has stood still as long.
    """
    over = tenant.clock_at
    if server is None:
        return replace(tenant, pauses=_bounded(tenant.pauses, over, KEPT_PAUSES, Pause.moved))
    spans = union_of(pause.span for pause in tenant.pauses)
    own = (
        pause
        for pause in tenant.server_pauses.get(server, ())
        if pause.paid or pause.ends_at > over or (waived_until(spans, pause.starts_at) or 0) < pause.ends_at
    )
    pauses = _bounded(tuple(own), over, KEPT_PAUSES, Pause.moved)
    grants = _bounded(tenant.exceptions.get(server, ()), over, KEPT_EXCEPTIONS, ExceptionGrant.moved)
    return replace(
        tenant,
        server_pauses=_with_entry(tenant.server_pauses, server, pauses),
        exceptions=_with_entry(tenant.exceptions, server, grants),
    )


def _bounded(
    spans: tuple[_Span, ...], over: int, most: int, moved: Callable[[_Span, int, int], _Span]
) -> tuple[_Span, ...]:
    ended: list[_Span] = [span for span in spans if span.ends_at <= over]
    if len(ended) <= most:
        return spans
    ended.sort(key=lambda span: (span.starts_at, span.ends_at))
    while len(ended) > most:
        first, second = ended[:2]
        gap = max(0, second.starts_at - first.ends_at)
        ended[:2] = [moved(second, first.starts_at + gap, max(first.ends_at + gap, second.ends_at))]
    ended += [span for span in spans if span.ends_at > over]
    return tuple(ended)


def forget_server(tenant: TenantEnforcement, server: str) -> TenantEnforcement | None:
    """Drop what is over of a server that is forgotten; None where there is nothing of it.

    A pause or an exception that still holds stays: it was given to that name.
    """
    settled = settle(tenant)
    own = [pause for pause in settled.server_pauses.get(server, ()) if pause.ends_at > tenant.clock_at]
    grants = [item for item in settled.exceptions.get(server, ()) if item.ends_at > tenant.clock_at]
    pauses = _with_entry(settled.server_pauses, server, own)
    exceptions = _with_entry(settled.exceptions, server, grants)
    if (pauses, exceptions) == (tenant.server_pauses, tenant.exceptions):
        return None
    return replace(settled, server_pauses=pauses, exceptions=exceptions)
