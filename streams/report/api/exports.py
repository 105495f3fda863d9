"""Exports that are sent while they are read: some thousand rows at a time, whatever their number."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from litestar.response import Stream

from streams.report.api.shapes import Server, cells_of, servers_of
from streams.report.queries.rows import ServerSummary
from streams.report.web.problems import checked_by_query
from streams.report.web.read_model import ReadModel
from streams.visible import csv_cell

CSV: Final = "text/csv"
JSON_LINES: Final = "application/jsonl"
_ENCODER = msgspec.json.Encoder()
_FIELDS: Final = Server.__struct_fields__
_QUOTED: Final = re.compile('[",\r\n]')

Rows = Iterator[list[ServerSummary]]


class Form(NamedTuple):
    """How an export is written: rows as bytes (with what comes before the first ones), its media type, its name."""

    write: Callable[[list[ServerSummary], bool], bytes]
    media_type: str
    file_name: str


def csv_parts(rows: list[ServerSummary], is_first: bool) -> bytes:
    """Rows as CSV (RFC 4180), the heading before the first ones."""
    lines = [",".join(_FIELDS)] if is_first else []
    lines += map(",".join, cells_of(rows, _csv_field))
    return "".join([f"{line}\r\n" for line in lines]).encode()


def _csv_field(value: Any) -> str:
    """A value as `csv` would write it; that looks at each field of each row anew."""
    text = "" if value is None else str(csv_cell(value))
    return '"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text


def json_line_parts(rows: list[ServerSummary], is_first: bool) -> bytes:
    """Rows as lines of JSON."""
    return _ENCODER.encode_lines(servers_of(rows))


AS_CSV: Final = Form(csv_parts, CSV, "servers.csv")
AS_JSON_LINES: Final = Form(json_line_parts, JSON_LINES, "servers.jsonl")


async def started(read_model: ReadModel, rows: Rows, form: Form) -> Stream:
    """An export whose first rows are read, so that what is refused is refused before anything is sent.

    Raises:
        Problem: the query refuses what it was asked for.
        DBAPIError: the database does not answer.
    """

    def take(is_first: bool) -> bytes:
        part = next(rows, None)
        return b"" if part is None and not is_first else form.write(part or [], is_first)

    with checked_by_query():
        first = await read_model.run(lambda: take(is_first=True))

    async def parts() -> AsyncIterator[bytes]:
        part = first
        while part:
            yield part
            part = await read_model.run(lambda: take(is_first=False))

    headers = {"Content-Disposition": f'attachment; filename="{form.file_name}"', "X-Content-Type-Options": "nosniff"}
    return Stream(parts(), media_type=form.media_type, headers=headers)
