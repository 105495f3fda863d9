"""The way of one server from its first detection to the full block: what was, what is, what comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from streams.domain.outputs.server_report import ServerStatus
from streams.texts.status_words import Rates, role_of

MOST_PAST: Final = 12
_HELD: Final = (ServerStatus.PAUSED, ServerStatus.EXEMPT)


class Tense(StrEnum):
    """Where a step lies in time."""

    PAST = "past"
    PRESENT = "present"
    FUTURE = "future"


class Step(NamedTuple):
    """What holds from a moment on, UTC milliseconds; `ends_at` is None where it is not known.

    Either `status` says what held, or `rates` what a stage to come will do; with neither, a pause ends.
    """

    tense: Tense
    begins_at: int
    ends_at: int | None
    stage: int
    status: str | None
    rates: Rates | None
    role: str
    is_gap: bool


def timeline(report: Mapping[str, Any], intervals: Sequence[Mapping[str, Any]], now: int) -> list[Step]:
    """The steps of a server in order of time.

    Args:
        report: its report, as its record has it.
        intervals: what held from when to when, newest first.
        now: the moment at which it is shown, UTC milliseconds.
    """
    begins = report.get("first_detected_date")
    shown = [one for one in intervals if begins is None or one["ends_at"] is None or one["ends_at"] > begins]
    steps = [_held(one) for one in reversed(shown[:MOST_PAST])]
    until = report.get("paused_until") or report.get("exempt_until")
    if until is not None and until > now:
        steps.append(Step(Tense.FUTURE, until, None, 0, None, None, "held", is_gap=False))
    for stage in report.get("schedule", ()):
        if stage["starts_at"] > now:
            rates = Rates(stage["throttle_minutes_per_hour"], stage["block_minutes_per_hour"])
            steps.append(
                Step(Tense.FUTURE, stage["starts_at"], None, stage["stage"], None, rates, rates.role, is_gap=False)
            )
    return steps


def _held(interval: Mapping[str, Any]) -> Step:
    status = interval["status"]
    return Step(
        Tense.PRESENT if interval["ends_at"] is None else Tense.PAST,
        interval["begins_at"],
        interval["ends_at"],
        interval["stage"],
        status,
        None,
        role_of(status),
        status in _HELD,
    )
