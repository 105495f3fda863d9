"""Rows of the report from a file."""

from __future__ import annotations

from streams.domain.validation import MalformedError
from streams.wire.records import to_record
from streams.wire.server_report import named, report_of_record, rows_of_file
from tests.fuzz.targets.service import check_reason


def check(data: bytes) -> None:
    """A line is malformed, or a row that can be shown; and a report, where its names mean something."""
    try:
        rows = list(rows_of_file(data.splitlines()))
    except MalformedError as error:
        check_reason(error, 2500)
        return
    for row in rows:
        named(row)
        try:
            report = report_of_record(row)
        except MalformedError as error:
            check_reason(error, 1000)
        else:
            assert report_of_record(to_record(report)) == report
