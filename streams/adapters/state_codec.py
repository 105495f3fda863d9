"""A server's state as bytes: one format byte, then Avro without header.

An unknown format byte is refused: a worker older than the state must not guess.
"""

from __future__ import annotations

import io
from typing import Any, Final

import orjson
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.domain.build import Build, parse_build
from streams.domain.catalogue import Remedy
from streams.domain.headers import Identity
from streams.domain.judgement import Finding, Judgement
from streams.domain.ladder import Clock
from streams.domain.pauses import ExceptionGrant, Pause, TenantEnforcement
from streams.domain.policy import ConnectorType
from streams.domain.state import Announced, Evidence, Override, ServerEnforcement
from streams.engine.ports import StoreError

FORMAT: Final = 2


def _nullable(kind: Any) -> list[Any]:
    return ["null", kind]


def _record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


_REMEDY = _record("Remedy", {"name": "string", "kb": _nullable("string")})
_JUDGEMENT = _record(
    "Judgement",
    {
        "finding": "string",
        "reason": "string",
        "required_build": _nullable("string"),
        "remedy": _nullable(_REMEDY),
        "cves": {"type": "array", "items": "string"},
        "would_be": _nullable("string"),
    },
)
_EVIDENCE = _record(
    "Evidence",
    {
        "received": _nullable("string"),
        "position": _nullable("int"),
        "protocol": _nullable("string"),
        "event_id": "string",
        "message_id": _nullable("string"),
        "connector_id": "string",
        "source_ip": "string",
        "observed_at": "long",
    },
)
_FIELDS: dict[str, Any] = {
    "tenant_id": "string",
    "server": "string",
    "identity": "string",
    "connector_id": "string",
    "connector_type": "string",
    "source_ip": "string",
    "first_seen_at": "long",
    "last_seen_at": "long",
    "clock_at": "long",
    "judged_at": "long",
    "judgement": _JUDGEMENT,
    "judged_over": "string",
    "policy_id": "string",
    "policy_version": "int",
    "build": _nullable("string"),
    "evidence": _nullable(_EVIDENCE),
    "connections": "long",
    "accepted": "long",
    "deferred": "long",
    "rejected": "long",
    "recent_events": {"type": "array", "items": "long"},
    "stage": "int",
    "reached_stage": "int",
    "throttled_at": _nullable("long"),
    "blocked_at": _nullable("long"),
    "detected_at": _nullable("long"),
    "elapsed_ms": "long",
    "clock_started_at": "long",
    "resolved_at": _nullable("long"),
    "has_vanished": "boolean",
    "revision": "int",
    "verdict_issued_at": "long",
    "reported_at": "long",
    "is_report_due": "boolean",
    "is_verdict_due": "boolean",
    "override_build": _nullable("string"),
    "override_ends_at": _nullable("long"),
    "without_override": _nullable("Judgement"),
    "announced": {"type": "array", "items": _record("Announced", {"switch_at": "long", "is_told": "boolean"})},
    "indexed_due_at": _nullable("long"),
}
_APART = (
    *("judgement", "without_override", "build", "evidence", "elapsed_ms", "clock_started_at"),
    *("override_build", "override_ends_at", "announced", "indexed_due_at"),
)
_SCHEMA = parse_schema(_record("ServerEnforcement", _FIELDS))
_PLAIN = [name for name in _FIELDS if name not in _APART]


def encode_state(state: ServerEnforcement, indexed_due_at: int | None) -> bytes:
    """The state, and the moment under which the due index holds it."""
    record: dict[str, Any] = {name: getattr(state, name) for name in _PLAIN}
    record["build"] = str(state.build) if state.build else None
    record["judgement"] = _judgement_record(state.judgement)
    record["without_override"] = _judgement_record(state.without_override) if state.without_override else None
    record["evidence"] = state.evidence._asdict() if state.evidence else None
    record["elapsed_ms"], record["clock_started_at"] = state.clock
    record["override_build"] = str(state.override.build) if state.override else None
    record["override_ends_at"] = state.override.ends_at if state.override else None
    record["announced"] = [known._asdict() for known in state.announced]
    record["indexed_due_at"] = indexed_due_at
    out = io.BytesIO()
    out.write(bytes((FORMAT,)))
    schemaless_writer(out, _SCHEMA, record)
    return out.getvalue()


def _judgement_record(judged: Judgement) -> dict[str, Any]:
    return {
        "finding": judged.finding.value,
        "reason": judged.reason,
        "required_build": str(judged.required_build) if judged.required_build else None,
        "remedy": judged.remedy._asdict() if judged.remedy else None,
        "cves": judged.cves,
        "would_be": judged.would_be.value if judged.would_be else None,
    }


def _judgement(record: dict[str, Any]) -> Judgement:
    return Judgement(
        Finding(record["finding"]),
        record["reason"],
        _build(record["required_build"]),
        Remedy(**record["remedy"]) if record["remedy"] else None,
        tuple(record["cves"]),
        Finding(record["would_be"]) if record["would_be"] else None,
    )


def decode_state(value: bytes) -> tuple[ServerEnforcement, int | None]:
    """The state and its indexed due moment.

    Raises:
        StoreError: the format is unknown; the worker must stop, not guess.
    """
    _check_format(value)
    record: dict[str, Any] = schemaless_reader(io.BytesIO(value[1:]), _SCHEMA, None)  # type: ignore[assignment]
    clock = Clock(record.pop("elapsed_ms"), record.pop("clock_started_at"))
    indexed_due_at: int | None = record.pop("indexed_due_at")
    override_build, override_ends_at = _build(record.pop("override_build")), record.pop("override_ends_at")
    record["override"] = Override(override_build, override_ends_at) if override_build else None
    record["announced"] = tuple(Announced(**known) for known in record["announced"])
    record["judgement"] = _judgement(record["judgement"])
    record["without_override"] = _judgement(record["without_override"]) if record["without_override"] else None
    record["identity"] = Identity(record["identity"])
    record["connector_type"] = ConnectorType(record["connector_type"])
    record["judged_over"] = ConnectorType(record["judged_over"])
    record["build"] = _build(record["build"])
    record["evidence"] = Evidence(**record["evidence"]) if record["evidence"] else None
    record["recent_events"] = tuple(record["recent_events"])
    return ServerEnforcement(clock=clock, **record), indexed_due_at


def encode_tenant(tenant: TenantEnforcement, indexed_due_at: int | None) -> bytes:
    """A tenant's state, and the moment under which the due index holds it."""
    content = {
        "tenant_id": tenant.tenant_id,
        "clock_at": tenant.clock_at,
        "pauses": [list(pause) for pause in tenant.pauses],
        "server_pauses": {server: [list(row) for row in rows] for server, rows in tenant.server_pauses.items()},
        "exceptions": {server: [list(row) for row in rows] for server, rows in tenant.exceptions.items()},
        "seen_commands": tenant.seen_commands,
        "indexed_due_at": indexed_due_at,
    }
    return bytes((FORMAT,)) + orjson.dumps(content)


def decode_tenant(value: bytes) -> tuple[TenantEnforcement, int | None]:
    """A tenant's state and its indexed due moment.

    Raises:
        StoreError: the format is unknown; the worker must stop, not guess.
    """
    _check_format(value)
    content = orjson.loads(value[1:])
    indexed_due_at: int | None = content["indexed_due_at"]
    return TenantEnforcement(
        tenant_id=content["tenant_id"],
        clock_at=content["clock_at"],
        pauses=_pauses(content["pauses"]),
        server_pauses={server: _pauses(rows) for server, rows in content["server_pauses"].items()},
        exceptions={
            server: tuple(ExceptionGrant(*row) for row in rows) for server, rows in content["exceptions"].items()
        },
        seen_commands=tuple(content["seen_commands"]),
    ), indexed_due_at


def _pauses(rows: list[Any]) -> tuple[Pause, ...]:
    return tuple(Pause(starts_at, ends_at, tuple(charged)) for starts_at, ends_at, charged in rows)


def _check_format(value: bytes) -> None:
    if value[0] != FORMAT:
        raise StoreError(f"state format {value[0]}: this version reads format {FORMAT} only")


def _build(text: str | None) -> Build | None:
    return parse_build(text) if text else None
