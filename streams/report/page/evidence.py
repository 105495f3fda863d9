"""The evidence of a finding: the very header line, with the build in it marked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from streams.domain.exchange.build import parse_build
from streams.visible import visible

_NUMBER: Final = re.compile(r"(?<![\d.])\d{1,9}(?:\.\d{1,9}){2,3}(?!\.?\d)")
_BEHIND_ID: Final = re.compile(r"\bid[ \t\r\n]+$", re.IGNORECASE)


class MarkedLine(NamedTuple):
    """A header line in which every character can be seen, in three parts; `build` is empty where it is not in it."""

    before: str
    build: str
    after: str


class Evidence(NamedTuple):
    """What a finding rests on; `position` counts from 1, the topmost; `observed_at` in UTC milliseconds."""

    line: MarkedLine | None
    position: int | None
    observed_at: int
    source_ip: str
    connector_id: str
    message_id: str | None
    event_id: str


def evidence_of(record: Mapping[str, Any] | None, build: str | None) -> Evidence | None:
    """The evidence in a server's report, beside the build that it is about; None where it has none."""
    if record is None:
        return None
    line, position = record.get("received"), record.get("position")
    message_id = record.get("message_id")
    return Evidence(
        None if line is None else mark_build(line, build),
        None if position is None else position + 1,
        record["observed_at"],
        visible(record["source_ip"]),
        visible(record["connector_id"]),
        None if message_id is None else visible(message_id),
        visible(record["event_id"]),
    )


def mark_build(line: str, build: str | None) -> MarkedLine:
    """A line split at the build, in either of its notations: the one behind `id` if there is, else the last."""
    found = [number for number in _NUMBER.finditer(line) if build is not None and _is(number[0], build)]
    if not found:
        return MarkedLine(visible(line), "", "")
    stamps = [number for number in found if _BEHIND_ID.search(line, 0, number.start())]
    number = (stamps or found)[-1]
    return MarkedLine(visible(line[: number.start()]), number[0], visible(line[number.end() :]))


def _is(number: str, build: str) -> bool:
    try:
        return parse_build(number) == parse_build(build)
    except ValueError:
        return False
