"""An export writes what `csv` would write, whatever strangers call their servers."""

from __future__ import annotations

import csv
import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.report.api.exports import csv_parts
from streams.report.api.shapes import Server, moment
from streams.report.queries.rows import ServerSummary
from streams.visible import csv_cell

NUMBERS = {"stage", "connections", "accepted", "deferred", "rejected", "throttle_minutes", "block_minutes"}
NUMBERS |= {"next_throttle_minutes", "next_block_minutes"}
MOMENTS = {"next_at", "first_seen_at", "last_seen_at", "paused_until", "exempt_until", "override_until", "since"}
MOMENTS |= {"reported_at"}
HOSTILE = st.text(st.sampled_from("=+-@\t\r\n\"',;|\x1b\u202e\uff1d a1é\udc80"), max_size=6)


def values_of(name: str) -> st.SearchStrategy[Any]:
    if name in NUMBERS:
        return st.none() | st.integers(0, 2**53)
    return st.none() | (st.integers(0, 4 * 10**12) if name in MOMENTS else HOSTILE | st.text(max_size=4))


ROWS = st.lists(st.tuples(*map(values_of, ServerSummary._fields)).map(ServerSummary._make), max_size=5)


def as_csv_writes(rows: list[ServerSummary], is_first: bool) -> bytes:
    """The same by the standard library, a cell after the other."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if is_first:
        writer.writerow(Server.__struct_fields__)
    for row in rows:
        named: zip[tuple[str, Any]] = zip(ServerSummary._fields, row, strict=True)
        writer.writerow([moment(value) if name in MOMENTS else csv_cell(value) for name, value in named])
    return text.getvalue().encode()


@given(ROWS, st.booleans())
def test_rows_are_written_as_csv_writes_them(rows: list[ServerSummary], is_first: bool) -> None:
    assert csv_parts(rows, is_first) == as_csv_writes(rows, is_first)
