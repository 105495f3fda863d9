"""The dates to come: which server, when, and what happens to its mail then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.report.queries.rows import ServerSummary
from streams.texts.languages import Language
from streams.texts.status_words import change_words, rates_of

MOST: Final = 5


class NextDate(NamedTuple):
    """A stage that begins at a moment, UTC milliseconds."""

    at: int
    tenant_id: str
    server: str
    what: str
    role: str


def next_dates(language: Language, rows: Iterable[ServerSummary], now: int) -> list[NextDate]:
    """The next stages of some servers, the earliest first, and only those to come."""
    coming = sorted((row.next_at, row.tenant_id, row.server, row) for row in rows if (row.next_at or 0) > now)
    dates = []
    for at, tenant, server, row in coming[:MOST]:
        before = rates_of(row.throttle_minutes, row.block_minutes)
        after = rates_of(row.next_throttle_minutes, row.next_block_minutes)
        assert at is not None
        dates.append(NextDate(at, tenant, server, change_words(language, before, after), after.role))
    return dates
