"""Which connections are routine: they change nothing of their server but what is counted, and that it is to be told.

`decide` gives the same state for such a connection as counting it does, and emits nothing. So it may be counted
without a decision. Whatever `decide` comes to depend on has to be asked for here.
"""

from __future__ import annotations

from streams.domain.exchange.build import Build
from streams.domain.time import DAY_MS, HOUR_MS


def routine_until(
    next_due: int,
    judged_at: int,
    reported_at: int,
    verdict_issued_at: int,
    is_known: bool,
    has_vanished: bool,
    is_verdict_due: bool,
    is_overridden: bool,
) -> int:
    """The moment from which on any connection of a server may decide; 0 where the next one may. UTC milliseconds.

    Args:
        next_due: when its next timer fires, or earlier.
        judged_at: the moment of the last decision.
        reported_at: the moment of the last report.
        verdict_issued_at: the moment of the last verdict.
        is_known: it has shown a build, or is known as a gateway.
        has_vanished: it was told of as silent, and the next connection takes that back.
        is_verdict_due: a verdict is to come once the day since the last one is over.
        is_overridden: an administrator said what to judge it as, until it shows a higher build.
    """
    if not is_known or has_vanished or is_overridden:
        return 0
    # A judgement may differ from day to day.
    end_of_day = (judged_at // DAY_MS + 1) * DAY_MS
    until = min(next_due, end_of_day, report_due_at(reported_at))
    return min(until, verdict_issued_at + DAY_MS) if is_verdict_due else until


def report_due_at(reported_at: int) -> int:
    """When a report is due of what came since the last one, of `reported_at`: UTC milliseconds."""
    return reported_at + HOUR_MS


def may_make_report_due(now: int, next_due: int, clock_at: int, reported_at: int) -> bool:
    """Whether the first connection since a report is routine nevertheless: the report that it makes due comes later.

    Args:
        now: the moment whose timers fire; this and all others in UTC milliseconds.
        next_due: when the next timer of the server fires, or earlier. If it is overdue, only a decision tells the next.
        clock_at: up to when its time has passed. If that is beyond the report's moment, a decision reports at once.
        reported_at: the moment of the last report.
    """
    return now < next_due and clock_at < report_due_at(reported_at)


def may_be_routine(
    observed_at: int,
    connector_type: int,
    build: Build | None,
    judged_connector_type: int,
    judged_build: Build | None,
    judged_at: int,
    last_seen_at: int,
    reported_at: int,
    until: int,
    switched_at: int,
) -> bool:
    """Whether a connection is routine as far as its moment, its connector and its build tell.

    A late one must not be a duplicate either. One at or after the last decision, late or not, must also repeat a stamp
    if it shows a build: the one to believe, or one that tells nothing of an episode. Of a mixed server,
    `may_be_routine_of_mixed` has to hold as well.

    Args:
        observed_at: its moment; this and all others in UTC milliseconds.
        connector_type: its connector type, as the number that `judged_connector_type` is given with.
        build: what it shows, None for a gateway's.
        judged_connector_type: the connector type of the connection that was judged last.
        judged_build: the build that it showed.
        judged_at: the moment of the last decision.
        last_seen_at: the latest connection of the server.
        reported_at: the moment of the last report.
        until: what `routine_until` gave for the server.
        switched_at: the last switch of policies or catalogues before this connection.
    """
    if not reported_at < observed_at < until or connector_type != judged_connector_type or judged_at < switched_at:
        return False
    # A judged one of the last one's moment would take its place; one after all others cannot come before a decision.
    if observed_at == last_seen_at >= judged_at or last_seen_at < observed_at < judged_at:
        return False
    return build == judged_build or (build is not None and judged_build is not None)


def may_be_routine_of_mixed(observed_at: int, noted_at: int | None, switched_at: int) -> bool:
    """Whether a judged connection of a mixed server repeats what was noted of its build: only that lasts longer.

    Args:
        observed_at: its moment; this and all others in UTC milliseconds.
        noted_at: when its build was noted last, as the accepted one or as the other; None where it never was.
        switched_at: the last switch of policies or catalogues before this connection.
    """
    # Each of the two builds was judged at a moment of its own, and a judgement may differ from day to day.
    return noted_at is not None and noted_at >= switched_at and noted_at // DAY_MS == observed_at // DAY_MS
