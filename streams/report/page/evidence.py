"""The evidence of a finding: the very header line, with the build in it marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.texts.header_lines import MarkedLine, mark_build
from streams.visible import visible


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
