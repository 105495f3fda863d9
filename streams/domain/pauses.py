"""Pauses, exceptions and the yearly quota of one tenant.

A pause lasts whole days of 24 hours from its command on. Each day counts in the UTC year in which it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from streams.domain.connection import DAY_MS
from streams.domain.ladder import Standstill


class Cover(NamedTuple):
    """What stands between one server and enforcement."""

    pauses: tuple[Standstill, ...] = ()
    exceptions: tuple[Standstill, ...] = ()

    def standstills(self) -> tuple[Standstill, ...]:
        """Every span in which enforcement time stands still."""
        return self.pauses + self.exceptions

    def until(self, moment: int) -> int | None:
        """Until when the server is covered without a gap, None when it is not covered at `moment`."""
        return covered_until(self.standstills(), moment)


NO_COVER = Cover()


def covered_until(spans: Iterable[Standstill], moment: int) -> int | None:
    """Until when spans cover `moment` and what follows without a gap, None when none covers it."""
    reached = moment
    for starts_at, ends_at in sorted(spans):
        if starts_at <= reached < ends_at:
            reached = ends_at
    return reached if reached > moment else None


class Pause(NamedTuple):
    """A pause; `charged` holds the beginnings of the days that cost quota, all in UTC milliseconds."""

    starts_at: int
    ends_at: int
    charged: tuple[int, ...]

    @property
    def span(self) -> Standstill:
        """The span in which enforcement time stands still."""
        return Standstill(self.starts_at, self.ends_at)


class ExceptionGrant(NamedTuple):
    """A long-term exception of one server, with who answers for it and why."""

    starts_at: int
    ends_at: int
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class TenantEnforcement:
    """What is remembered of a tenant; `server` keys of the mappings, moments in UTC milliseconds."""

    tenant_id: str
    clock_at: int = 0
    pauses: tuple[Pause, ...] = ()
    server_pauses: Mapping[str, tuple[Pause, ...]] = field(default_factory=dict)
    exceptions: Mapping[str, tuple[ExceptionGrant, ...]] = field(default_factory=dict)
    seen_commands: tuple[int, ...] = ()

    def cover_of(self, server: str) -> Cover:
        """What covers a server: the tenant's pauses, its own, and its exceptions."""
        own = self.server_pauses.get(server, ())
        grants = self.exceptions.get(server, ())
        return Cover(
            tuple(pause.span for pause in (*self.pauses, *own)),
            tuple(Standstill(grant.starts_at, grant.ends_at) for grant in grants),
        )

    def used_days(self, year: int) -> int:
        """How many days of quota a calendar year has cost."""
        every = [*self.pauses, *(pause for pauses in self.server_pauses.values() for pause in pauses)]
        return sum(year_of(day) == year for pause in every for day in pause.charged)


def year_of(moment: int) -> int:
    """The UTC calendar year of a moment."""
    return datetime.fromtimestamp(moment / 1000, UTC).year


class QuotaError(ValueError):
    """A pause would exceed the quota; the message names year, days asked for and days left."""


def _charge(tenant: TenantEnforcement, days: Iterable[int], quota: int) -> tuple[int, ...]:
    charged = tuple(days)
    for year in sorted({year_of(day) for day in charged}):
        asked = sum(year_of(day) == year for day in charged)
        left = quota - tenant.used_days(year)
        if asked > left:
            raise QuotaError(f"days: {asked} of {year}: only {left} of {quota} days are left in that year")
    return charged


def running(pauses: Iterable[Pause], moment: int) -> Pause | None:
    """The pause that runs at a moment."""
    return next((pause for pause in pauses if pause.starts_at <= moment < pause.ends_at), None)


def pause_tenant(tenant: TenantEnforcement, at: int, days: int, quota: int) -> TenantEnforcement:
    """Pause every server of a tenant for `days`, or extend the pause that runs.

    Raises:
        QuotaError: a calendar year has not so many days left.
    """
    current = running(tenant.pauses, at)
    begin = current.ends_at if current else at
    charged = _charge(tenant, (begin + day * DAY_MS for day in range(days)), quota)
    return replace(tenant, pauses=_with(tenant.pauses, current, begin, days, charged))


def pause_server(tenant: TenantEnforcement, server: str, at: int, days: int, quota: int) -> TenantEnforcement:
    """Pause one server; days that a pause of the tenant covers entirely cost nothing.

    Raises:
        QuotaError: a calendar year has not so many days left.
    """
    own = tenant.server_pauses.get(server, ())
    current = running(own, at)
    begin = current.ends_at if current else at
    spans = [pause.span for pause in tenant.pauses]
    wanted = (begin + day * DAY_MS for day in range(days))
    charged = _charge(tenant, (day for day in wanted if not _is_covered(spans, day)), quota)
    return replace(tenant, server_pauses={**tenant.server_pauses, server: _with(own, current, begin, days, charged)})


def _with(
    pauses: tuple[Pause, ...], current: Pause | None, begin: int, days: int, charged: tuple[int, ...]
) -> tuple[Pause, ...]:
    end = begin + days * DAY_MS
    if current is None:
        return (*pauses, Pause(begin, end, charged))
    return _instead(pauses, current, Pause(current.starts_at, end, current.charged + charged))


def _ended(pauses: tuple[Pause, ...], at: int) -> tuple[Pause, ...]:
    # A pause that came late may overlap with another one.
    while current := running(pauses, at):
        used = tuple(day for day in current.charged if day < at)
        pauses = _instead(pauses, current, Pause(current.starts_at, at, used))
    return pauses


def cancel_pause(tenant: TenantEnforcement, server: str | None, at: int, quota: int) -> TenantEnforcement | None:
    """End what pauses the tenant, or one server; days not begun go back. None when nothing runs.

    Days of a server's pause were free while the tenant's pause covered them. Without that cover they cost quota like
    any other day, and a pause for which none is left ends there.
    """
    pauses = tenant.pauses if server is None else tenant.server_pauses.get(server, ())
    if running(pauses, at) is None:
        return None
    if server is not None:
        return replace(tenant, server_pauses={**tenant.server_pauses, server: _ended(pauses, at)})
    uncovered = replace(tenant, pauses=_ended(pauses, at))
    for name in sorted(tenant.server_pauses):
        uncovered = _charge_uncovered(uncovered, name, at, quota)
    return uncovered


def _charge_uncovered(tenant: TenantEnforcement, server: str, at: int, quota: int) -> TenantEnforcement:
    own = tenant.server_pauses[server]
    current = running(own, at)
    if current is None:
        return tenant
    spans = [pause.span for pause in tenant.pauses]
    kept = current._replace(charged=tuple(day for day in current.charged if day < at))
    for day in range(current.starts_at, current.ends_at, DAY_MS):
        if day < at:
            continue
        paid = replace(tenant, server_pauses={**tenant.server_pauses, server: _instead(own, current, kept)})
        if not _is_covered(spans, day):
            if paid.used_days(year_of(day)) >= quota:
                kept = kept._replace(ends_at=day)
                break
            kept = kept._replace(charged=(*kept.charged, day))
    return replace(tenant, server_pauses={**tenant.server_pauses, server: _instead(own, current, kept)})


def _is_covered(spans: Iterable[Standstill], day: int) -> bool:
    """Whether a whole day is inside of pauses."""
    return (covered_until(spans, day) or 0) >= day + DAY_MS


def _instead(pauses: tuple[Pause, ...], current: Pause, other: Pause) -> tuple[Pause, ...]:
    # A pause that ends as it begins covers and costs nothing; any number of them would make a tenant's state grow.
    changed = (other if pause is current else pause for pause in pauses)
    return tuple(pause for pause in changed if pause.starts_at < pause.ends_at)


def grant(tenant: TenantEnforcement, server: str, granted: ExceptionGrant) -> TenantEnforcement:
    """Except one server; an exception that holds already ends where the new one begins."""
    kept = revoke(tenant, server, granted.starts_at) or tenant
    grants = (*kept.exceptions.get(server, ()), granted)
    return replace(kept, exceptions={**kept.exceptions, server: grants})


def revoke(tenant: TenantEnforcement, server: str, at: int) -> TenantEnforcement | None:
    """End the exception of a server; None when none holds."""
    grants = tenant.exceptions.get(server, ())
    current = next((item for item in grants if item.starts_at <= at < item.ends_at), None)
    if current is None:
        return None
    ended = (item._replace(ends_at=at) if item is current else item for item in grants)
    kept = tuple(item for item in ended if item.starts_at < item.ends_at)
    return replace(tenant, exceptions={**tenant.exceptions, server: kept})
