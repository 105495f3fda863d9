"""The decision about one message by the verdicts on disk, as the door makes it and `tes edge decide` explains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streams.domain.edge import Cause, Decision, EdgeVerdict, Trust, decide_message
from streams.domain.exchange.clauses import MAX_LINE_CHARS
from streams.domain.exchange.detection import MAX_LINES, Detection
from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import Action
from streams.edge.ports import UnreadableVerdictError

FindVerdict = Callable[[ServerKey], EdgeVerdict | None]
"""See `ports.Verdicts.find`."""
MAX_RECEIVED_CHARS: Final = 256 << 10
"""Of a message's lines that an event holds; no judgement needs so much."""
_FEW_LINES: Final = min(MAX_LINES, MAX_RECEIVED_CHARS // MAX_LINE_CHARS)
"""So many lines fit whatever stands in them, unless one is longer than is read."""


def decide_by(
    find_verdict: FindVerdict, key: ServerKey, detection: Detection, trust: Trust, now: int
) -> tuple[EdgeVerdict | None, Decision]:
    """Decide about a message whose headers were seen.

    Args:
        find_verdict: looks up the newest verdict about a server.
        key: the server that the headers show.
        detection: what else they show.
        trust: how far verdicts are believed.
        now: UTC milliseconds.

    Returns:
        The newest verdict about the server, None where there is none that can be read, and the decision.
    """
    try:
        verdict = find_verdict(key)
    except UnreadableVerdictError:
        return None, Decision(Action.ACCEPT, Cause.UNREADABLE)
    return verdict, decide_message(detection, verdict, trust, now)


def kept_lines(received: tuple[str, ...]) -> tuple[str, ...]:
    """As much of the lines as an event holds: at least all that is read of them, and nearly always the same tuple."""
    if len(received) <= _FEW_LINES and all(len(line) <= MAX_LINE_CHARS for line in received):
        return received
    kept: list[str] = []
    left = MAX_RECEIVED_CHARS
    for line in received[:MAX_LINES]:
        if left <= 0:
            break
        kept.append(line[: min(MAX_LINE_CHARS, left)])
        left -= len(kept[-1])
    return tuple(kept)
