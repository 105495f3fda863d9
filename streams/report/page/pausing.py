"""What a pause would cost and move, before anybody confirms it; the engine's own rules say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.domain.policy.ladder import Clock, ClockStop, elapsed_at, wall_time_of
from streams.domain.tenant.pauses import pause_server, pause_tenant
from streams.domain.tenant.quota import Use
from streams.domain.tenant.waivers import waived_until
from streams.domain.time import DAY_MS
from streams.report.queries.pauses import PAUSE, Pauses, Waiver, enforcement_of
from streams.texts.status_words import Rates


class YearCost(NamedTuple):
    """Days that a pause costs of a calendar year, and what that year has left before it and after it."""

    year: int
    days: int
    left_before: int
    left_after: int


class MovedStage(NamedTuple):
    """A stage to come, when it begins as things are, and when it would with the pause; UTC milliseconds."""

    stage: int
    rates: Rates
    before: int
    after: int


class PausePreview(NamedTuple):
    """A pause that was not made yet; moments in UTC milliseconds. `exceeded` is a year whose quota does not suffice."""

    begins_at: int
    ends_at: int
    extends: bool
    costs: list[YearCost]
    exceeded: YearCost | None
    stop: ClockStop


def tenant_paused_until(pauses: Pauses, at: int) -> int | None:
    """Until when pauses of the whole tenant cover a moment and what follows without a gap."""
    return waived_until((ClockStop(one.starts_at, one.ends_at) for one in _of_tenant(pauses)), at)


def preview_pause(pauses: Pauses, server: str | None, days: int, at: int, quota: int) -> PausePreview:
    """What a pause of so many days from a moment on would be, of one server or of all."""
    known = enforcement_of(pauses, quota)
    # A quota that suffices always: what is missing is shown, not raised.
    plenty = quota + days + sum(use.days for use in known.used.values()) + 1_000
    if server is None:
        paused, before = pause_tenant(known, at, days, plenty).pauses, known.pauses
    else:
        paused = pause_server(known, server, at, days, plenty).server_pauses[server]
        before = known.server_pauses.get(server, ())
    last = max(paused, key=lambda pause: pause.ends_at)
    begins_at = last.ends_at - days * DAY_MS
    asked = Use({})
    for pause in paused:
        asked.add(pause.paid)
    costs = [
        YearCost(year, use.days, known.left_days(year, quota), max(0, known.left_days(year, quota) - use.days))
        for year, use in sorted(asked.years.items())
    ]
    over = known.use().exceeded_year([paid for pause in paused for paid in pause.paid], quota)
    exceeded = over and next((cost for cost in costs if cost.year == over[0]), None)
    return PausePreview(
        begins_at,
        last.ends_at,
        bool(before) and begins_at > at,
        costs,
        exceeded or None,
        ClockStop(begins_at, last.ends_at),
    )


def move_stages(report: Mapping[str, Any], stop: ClockStop) -> list[MovedStage]:
    """The stages to come of a server, with its clock stopped once more.

    Args:
        report: the server's report, as its record has it.
        stop: the span in which its enforcement clock would stand still.
    """
    started_at = report.get("clock_started_at")
    if started_at is None:
        return []
    clock = Clock(report["clock_elapsed_ms"], started_at)
    known = [ClockStop(one["starts_at"], one["ends_at"]) for one in report.get("standstills", ())]
    moved = []
    for stage in report.get("schedule", ()):
        elapsed = elapsed_at(clock, stage["starts_at"], known)
        after = wall_time_of(clock, elapsed, [*known, stop])
        rates = Rates(stage["throttle_minutes_per_hour"], stage["block_minutes_per_hour"])
        moved.append(MovedStage(stage["stage"], rates, stage["starts_at"], after))
    return moved


def _of_tenant(pauses: Pauses) -> list[Waiver]:
    return [one for one in pauses.waivers if one.kind == PAUSE and one.server is None]
