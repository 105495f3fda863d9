"""Which answers to a message were right, by all that the edge may have known at that moment.

It uses no code of the product: verdicts are read as `docs/concepts/ladder.md` says, and grow old as
`docs/concepts/edge.md` does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tests.chaos.edge.log import Sample, Sent, Span, Written
from tests.support.edge import answer

LOOK_MS: Final = 4_000
"""The door looks once a second how current its verdicts are, and whether the file is another one; a busy one, later."""
ACCEPT: Final = ("ACCEPT", None)

Answer = tuple[str, str | None]
"""An action, and its reply line."""


class Limits(NamedTuple):
    """How long verdicts are believed, in milliseconds."""

    block_max_age: int
    table_max_age: int


class Knowledge:
    """What the edge may have known, from what was written and what was seen on its disk."""

    def __init__(
        self, written: Iterable[Written], samples: Sequence[Sample], limits: Limits, excused: Sequence[Span] = ()
    ) -> None:
        """In the times of `excused` the file was damaged or taken away."""
        self._written: dict[str, list[Written]] = {}
        for item in written:
            self._written.setdefault(item.key, []).append(item)
        self._samples, self._limits, self._excused = samples, limits, excused
        self._begins = [sample.began for sample in samples]

    def answers(self, sent: Sent, look_ms: int = LOOK_MS) -> set[Answer]:
        """Every answer to a message that was right when it was given by a door that looked so long ago at most."""
        hurt = [span for span in self._excused if span.meets(sent.sent_at - look_ms, sent.answered_at)]
        is_hurt = bool(hurt)
        # A door that nobody has told goes on with what it read before the damage, however long that is ago.
        begin = min((sent.sent_at, *(span.begin for span in hurt)))
        near = list(self._near(sent, sent.sent_at - begin + look_ms))
        right: set[Answer] = set()
        if is_hurt or any(sample.confirmed_at is None or sent.key not in sample.revisions for sample in near):
            right.add(ACCEPT)
        confirmations = {sample.confirmed_at for sample in near if sample.confirmed_at is not None}
        for item in self._candidates(sent, look_ms if is_hurt else 0):
            if item is None or item.record is None:
                right.add(ACCEPT)
                continue
            for moment in (sent.sent_at, sent.answered_at):
                right |= {self._answer(item.record, moment, confirmed_at) for confirmed_at in confirmations}
        return right

    def _near(self, sent: Sent, look_ms: int) -> Iterator[Sample]:
        """What was on disk when it was answered, or so shortly before that the door may not have looked since."""
        place = min(bisect_right(self._begins, sent.answered_at), len(self._samples) - 1)
        while place >= 0:
            yield self._samples[place]
            if self._samples[place].began < sent.sent_at - look_ms:
                return
            place -= 1

    def _candidates(self, sent: Sent, slack: int) -> Iterator[Written | None]:
        """The verdicts that may have been the newest one on disk; None for none."""
        for item in reversed(self._written.get(sent.key, [])):
            if item.at > sent.answered_at:
                continue
            yield item
            if item.seen_at is not None and item.seen_at + slack < sent.sent_at:
                return
        yield None

    def _answer(self, record: dict[str, Any], moment: int, confirmed_at: int) -> Answer:
        age = moment - confirmed_at
        if age > self._limits.table_max_age:
            return ACCEPT
        if age > self._limits.block_max_age:
            record = _only_delaying(record)
        return answer(_readable(record), _iso(moment))


def _only_delaying(record: dict[str, Any]) -> dict[str, Any]:
    """The verdict with each block as a throttle of the same minutes."""
    aged = {**record, **_merged(record)}
    return {**aged, "schedule": [{**item, **_merged(item)} for item in record["schedule"]]}


def _merged(rates: dict[str, Any]) -> dict[str, int]:
    minutes = rates["throttle_minutes_per_hour"] + rates["block_minutes_per_hour"]
    return {"throttle_minutes_per_hour": minutes, "block_minutes_per_hour": 0}


def _readable(record: dict[str, Any]) -> dict[str, Any]:
    """The verdict with its moments as texts."""
    paused = record["paused_until"]
    schedule = [{**item, "starts_at": _iso(item["starts_at"])} for item in record["schedule"]]
    return {**record, "paused_until": None if paused is None else _iso(paused), "schedule": schedule}


def _iso(moment: int) -> str:
    at = datetime.fromtimestamp(moment // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{moment % 1000:03d}Z"
