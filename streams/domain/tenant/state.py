"""What is remembered of one tenant: its pauses, its exceptions, and what they have cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self, TypeVar

from streams.domain.policy.ladder import ClockStop
from streams.domain.tenant.quota import PaidDays, Use, YearUse
from streams.domain.tenant.waivers import Waivers, waived_until

MAX_KEPT_BYTES: Final = 256 * 1024
"""What the pauses and exceptions of a tenant may take together, about as they are stored."""
_SPAN_BYTES: Final = 64


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


Span = TypeVar("Span", Pause, ExceptionGrant)
"""A pause or an exception."""


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


def with_entry(
    entries: Mapping[str, tuple[Span, ...]], server: str, spans: Iterable[Span]
) -> dict[str, tuple[Span, ...]]:
    """The entries with these spans for a server, and without one where there are none."""
    # A span that ends as it begins covers and costs nothing; any number of them would make a tenant's state grow.
    kept = tuple(span for span in spans if span.starts_at < span.ends_at)
    others = {name: found for name, found in entries.items() if name != server}
    return {**entries, server: kept} if kept else others
