"""Rows of the report: back from records and files, and under the column names of Exchange Online's cmdlet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import orjson

from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.keys import ServerKey
from streams.domain.outputs.server_report import ServerReport, ServerStatus
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ClockStop, ScheduledStage
from streams.domain.policy.policy import ConnectorType
from streams.domain.time import day_of, days_of
from streams.domain.validation import MalformedError
from streams.wire.codec import AvroCodec
from streams.wire.records import parse_moment, to_json
from streams.wire.registry import LocalRegistry

_MAX_DEPTH = 8
"""Of a row in JSON; one of the service is not half as deep."""
COLUMNS = {
    "Tenant": "tenant_id",
    "Server": "server",
    "Identity": "identity",
    "ServerFQDN": "server_fqdn",
    "Build": "build",
    "ExchangeServer": "exchange_server",
    "Status": "status",
    "Finding": "finding",
    "WouldBe": "would_be",
    "Stage": "stage",
    "FirstDetectedDate": "first_detected_date",
    "RecommendedBuildVersions": "recommended_build_versions",
    "ThrottleEnabledDate": "throttle_enabled_date",
    "BlockingEnabledDate": "blocking_enabled_date",
    "NextStageThrottleRate": "next_stage_throttle_rate",
    "NextStageBlockRate": "next_stage_block_rate",
    "NextStageStartDate": "next_stage_start_date",
    "ResolvedDate": "resolved_at",
    "AcceptedBuild": "accepted_build",
    "PausedUntil": "paused_until",
    "ExemptUntil": "exempt_until",
    "OverrideBuild": "override_build",
    "OverrideUntil": "override_until",
    "SupportEnds": "support_ends_on",
    "FirstSeen": "first_seen_at",
    "LastSeen": "last_seen_at",
    "Connections": "connections",
    "Accepted": "accepted",
    "Deferred": "deferred",
    "Rejected": "rejected",
    "Connector": "connector_id",
    "ConnectorType": "connector_type",
    "SourceIP": "source_ip",
    "Policy": "policy_id",
    "PolicyVersion": "policy_version",
    "Remedy": "remedy",
    "CVEs": "cves",
    "Reason": "reason",
    "Evidence": "evidence",
}
"""Field of a row by the column's name: those of `Get-...Report` first, then the service's own."""


def _build(text: str | None) -> Build | None:
    return None if text is None else parse_build(text)


def report_of_record(record: dict[str, Any]) -> ServerReport:
    """The row that an Avro-shaped record holds.

    Raises:
        MalformedError: a field is missing or holds nothing that the service writes.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "identity": Identity,
        "build": _build,
        "finding": Finding,
        "would_be": lambda value: value and Finding(value),
        "finding_without_override": lambda value: value and Finding(value),
        "status": ServerStatus,
        "action": Action,
        "recommended_build_versions": lambda value: tuple(map(parse_build, value)),
        "remedy": lambda value: value and Remedy(**value),
        "cves": tuple,
        "support_ends_on": lambda value: None if value is None else day_of(value),
        "connector_type": ConnectorType,
        "judged_connector_type": lambda value: ConnectorType(value or record["connector_type"]),
        "judged_at": lambda value: record["last_seen_at"] if value is None else value,
        "evidence": lambda value: value and Evidence(**value),
        "override_build": _build,
        "accepted_build": _build,
        "accepted_evidence": lambda value: value and Evidence(**value),
        "schedule": lambda value: tuple(ScheduledStage(**stage) for stage in value),
        "standstills": lambda value: tuple(ClockStop(**span) for span in value),
    }
    try:
        values = {name: readers[name](value) if name in readers else value for name, value in record.items()}
        return ServerReport(**values)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        server = f"{record.get('tenant_id')}/{record.get('server')}"
        raise MalformedError(f"row of {server:.80}: {type(error).__name__}: {error}") from None


def rows_of_file(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The Avro-shaped records of a `servers.jsonl`; a field that an earlier version did not have takes its default.

    Raises:
        MalformedError: a line is no such row; names its number.
    """
    codec = AvroCodec("server_report", LocalRegistry())
    for number, line in enumerate(lines, start=1):
        try:
            raw = orjson.loads(line)
            if not isinstance(raw, dict) or "tenant_id" not in raw or "server" not in raw:
                raise MalformedError("must be a JSON object with tenant_id and server")
            yield codec.decode(codec.encode(_from_json(raw)))
        except (orjson.JSONDecodeError, MalformedError, ValueError) as error:
            raise MalformedError(f"line {number}: {line[:60]!r}: {error}") from None


def _from_json(value: Any, name: str = "", depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise MalformedError(f"{name[:80]}: nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {key: _from_json(item, key, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item, "", depth + 1) for item in value]
    # What is written as a day or a moment was one: the names are those that `to_json` goes by.
    if value is None or to_json({name: 0}) == {name: 0}:
        return value
    if not isinstance(value, str):
        raise MalformedError(f"{name}: {value!r:.80}: must be a date or a timestamp in quotes")
    return days_of(date.fromisoformat(value)) if name == "support_ends_on" else parse_moment(name, value)


def sort_rows(rows: Mapping[bytes, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a topic, each under its record's key, in order of tenant and server."""
    return [rows[key] for key in sorted(rows, key=ServerKey.parse)]


def named(record: dict[str, Any]) -> dict[str, Any]:
    """A row under its column names, moments as ISO 8601."""
    shown = to_json(record)
    return {column: shown[field] for column, field in COLUMNS.items()}
