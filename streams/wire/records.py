"""Records at the border: domain objects to Avro-shaped dicts, to JSON, and connections back from either."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Any

import orjson

from streams.domain.exchange.build import Build
from streams.domain.exchange.names import canonical_address
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import MOST_REFUSED, InboundConnection, Outcome
from streams.domain.tenant.commands import PUBLICATIONS, AdminCommand, CommandKind, Role
from streams.domain.time import day_of, days_of, iso, moment_ms
from streams.domain.validation import MalformedError
from streams.visible import visible_json

_PLAIN = frozenset((str, int, bool, type(None)))
_CONVERTERS: dict[type, Callable[[Any], Any]] = {}
_MOMENTS = re.compile(
    r"(?:^|_)(?:at|until|"
    r"first_detected_date|throttle_enabled_date|blocking_enabled_date|next_stage_start_date)$"
)
_MALFORMED_CHARS = 1000
_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")
_EXAMPLE = "2026-10-31 or 2026-10-31T08:00:00Z"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)")


def to_record(value: Any) -> Any:
    """A domain object as Avro takes it: dicts, lists, plain strings, milliseconds, days since 1970."""
    kind = type(value)
    convert = _CONVERTERS.get(kind)
    if convert is None:
        convert = _CONVERTERS[kind] = _converter(kind)
    return convert(value)


def _converter(kind: type) -> Callable[[Any], Any]:
    """How to convert values of one type."""
    if issubclass(kind, Build):
        return str
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return lambda value: _fields(names, [getattr(value, name) for name in names])
    if hasattr(kind, "_fields"):
        names = list(kind._fields)
        return lambda value: _fields(names, value)
    if issubclass(kind, tuple):
        return _listed
    if issubclass(kind, StrEnum):
        return str
    if issubclass(kind, Enum):
        return lambda value: value.value
    if issubclass(kind, date):
        return days_of
    return lambda value: value


def _listed(value: tuple[Any, ...]) -> list[Any]:
    for item in value:
        if type(item) is not str:
            return [to_record(item) for item in value]
    return list(value)


def _fields(names: list[str], values: Iterable[Any]) -> dict[str, Any]:
    record = {}
    for name, item in zip(names, values, strict=True):
        record[name] = item if type(item) in _PLAIN else to_record(item)
    return record


def to_json(record: Any) -> Any:
    """An Avro-shaped record with its moments as ISO 8601 UTC with milliseconds, its days as dates."""
    if isinstance(record, list):
        return [to_json(item) for item in record]
    if not isinstance(record, dict):
        return record
    shown = {}
    for name, value in record.items():
        if isinstance(value, int) and name == "support_ends_on":
            shown[name] = day_of(value).isoformat()
        elif isinstance(value, int) and _MOMENTS.search(name):
            shown[name] = iso(value)
        else:
            shown[name] = to_json(value)
    return shown


def to_json_line(record: Any) -> bytes:
    """One line of a result file, with nothing in it that a terminal would obey."""
    return visible_json(to_json(record)) + b"\n"


def parse_moment(name: str, text: Any) -> int:
    """UTC milliseconds of an ISO 8601 moment with its zone.

    Raises:
        MalformedError: names the field and the value.
    """
    if isinstance(text, str) and _MOMENT.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        else:
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    raise MalformedError(f"{name}: {_shown(text)}: must be a timestamp like 2026-09-01T00:00:00.000Z")


def parse_day_or_moment(name: str, text: str) -> int:
    """UTC milliseconds of `2026-10-31` (its first moment) or of an ISO 8601 moment.

    Raises:
        MalformedError: it is neither.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            return parse_moment(name, text if _ZONE.search(text) else f"{text}Z")
        except MalformedError:
            raise MalformedError(f"{name}: {_shown(text)}: must be a day or time like {_EXAMPLE}") from None
    return moment_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _shown(value: Any) -> str:
    """A value as it stands in an error, however deep it is nested."""
    return f"{reprlib.repr(value) if isinstance(value, dict | list) else repr(value):.80}"


def _is_one_of(value: Any, names: Iterable[str]) -> bool:
    # JSON has lists and mappings too, and those cannot be looked up.
    return isinstance(value, str) and value in names


def _text(record: dict[str, Any], name: str, default: str | None = None) -> str:
    value = record.get(name, default)
    if not isinstance(value, str):
        raise MalformedError(f"{name}: {_shown(value)}: must be a string")
    return value


def _nullable(record: dict[str, Any], name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"line: {line[:60]!r}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise MalformedError(f"line: {line[:60]!r}: must be a JSON object")
    return raw


def connection_record(line: bytes) -> dict[str, Any]:
    """One JSON line of a feed as an Avro-shaped record.

    Raises:
        MalformedError: it is not a JSON object, or a field is missing or of another type.
    """
    raw = _json_object(line)
    received = raw.get("received")
    if not isinstance(received, list) or not all(isinstance(value, str) for value in received):
        raise MalformedError(f"received: {_shown(received)}: must be a list of strings")
    recipients = raw.get("recipients", 0)
    if not isinstance(recipients, int) or isinstance(recipients, bool) or not 0 <= recipients < 2**31:
        raise MalformedError(f"recipients: {_shown(recipients)}: must be a whole number")
    refused = raw.get("refused_before", 0)
    if not isinstance(refused, int) or isinstance(refused, bool) or not 0 <= refused <= MOST_REFUSED:
        raise MalformedError(f"refused_before: {_shown(refused)}: must be a whole number from 0 to {MOST_REFUSED}")
    connector, outcome = raw.get("connector_type"), raw.get("outcome")
    if not _is_one_of(connector, ConnectorType.__members__):
        raise MalformedError(f"connector_type: {_shown(connector)}: must be one of {', '.join(ConnectorType)}")
    if outcome is not None and not _is_one_of(outcome, Outcome.__members__):
        raise MalformedError(f"outcome: {_shown(outcome)}: must be one of {', '.join(Outcome)}, or null")
    return {
        "observed_at": parse_moment("observed_at", raw.get("observed_at")),
        "connector_type": connector,
        "tenant_id": _text(raw, "tenant_id"),
        "received": received,
        "event_id": _text(raw, "event_id"),
        "connector_id": _text(raw, "connector_id", ""),
        "source_ip": _text(raw, "source_ip"),
        "helo": _text(raw, "helo", ""),
        "tls_subject": _nullable(raw, "tls_subject"),
        "message_id": _nullable(raw, "message_id"),
        "outcome": outcome,
        "recipients": recipients,
        "refused_before": refused,
    }


def command_record(line: bytes) -> dict[str, Any]:
    """One JSON line of a command file as an Avro-shaped record.

    A command that can be attributed to a tenant and a moment is always a record: what is wrong with its other fields
    stands in `malformed`, so that it is refused with an audit record that names it.

    Raises:
        MalformedError: it is not a JSON object, or has no `command_id`, `tenant_id` or `issued_at` of the right kind.
    """
    raw = _json_object(line)
    record = {
        "command_id": _text(raw, "command_id"),
        "tenant_id": _text(raw, "tenant_id"),
        "issued_at": parse_moment("issued_at", raw.get("issued_at")),
    }
    readers: dict[str, tuple[Callable[[dict[str, Any], str], Any], Any]] = {
        "issued_by": (lambda raw, name: _text(raw, name, ""), ""),
        "role": (_role, Role.TENANT_ADMIN.value),
        "kind": (_kind, CommandKind.UNKNOWN.value),
        "days": (_whole_number, None),
        "server": (_nullable, None),
        "owner": (_nullable, None),
        "reason": (_nullable, None),
        "build": (_nullable, None),
        "expires_at": (_nullable_moment, None),
    }
    wrong = [f"{name[:80]}: unknown field" for name in raw if name not in record and name not in readers]
    for name, (read, instead) in readers.items():
        try:
            record[name] = read(raw, name)
        except MalformedError as error:
            record[name] = instead
            wrong.append(str(error))
    return {**record, "malformed": "; ".join(wrong)[:_MALFORMED_CHARS] or None}


def in_order_of_issue(lines: Iterable[bytes]) -> list[bytes]:
    """The commands of a file by `issued_at`; those of one moment, and what is no command, stay in order."""

    def issued_at(line: bytes) -> int:
        try:
            moment: int = command_record(line)["issued_at"]
        except MalformedError:
            return 0
        return moment

    return sorted(lines, key=issued_at)


def _role(raw: dict[str, Any], name: str) -> str:
    if not _is_one_of(raw.get(name), Role.__members__):
        raise MalformedError(f"{name}: {_shown(raw.get(name))}: must be one of {', '.join(Role)}")
    return str(raw[name])


def _kind(raw: dict[str, Any], name: str) -> str:
    known = [kind for kind in CommandKind if kind not in PUBLICATIONS and kind is not CommandKind.UNKNOWN]
    if raw.get(name) not in known:
        raise MalformedError(f"{name}: {_shown(raw.get(name))}: must be one of {', '.join(known)}")
    return str(raw[name])


def _whole_number(raw: dict[str, Any], name: str) -> int | None:
    value = raw.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31):
        raise MalformedError(f"{name}: {_shown(value)}: must be a whole number")
    return value


def _nullable_moment(raw: dict[str, Any], name: str) -> int | None:
    return None if raw.get(name) is None else parse_moment(name, raw[name])


def command_of(record: dict[str, Any]) -> AdminCommand:
    """The command that an Avro-shaped record holds."""
    return AdminCommand(**record | {"role": Role(record["role"]), "kind": CommandKind(record["kind"])})


def connection_of(record: dict[str, Any]) -> InboundConnection:
    """The connection that an Avro-shaped record holds; an outcome of a later schema counts as none."""
    outcome = record["outcome"]
    return InboundConnection(
        event_id=record["event_id"],
        observed_at=record["observed_at"],
        tenant_id=record["tenant_id"],
        connector_id=record["connector_id"],
        connector_type=ConnectorType(record["connector_type"]),
        source_ip=canonical_address(record["source_ip"]) or record["source_ip"],
        helo=record["helo"],
        received=tuple(record["received"]),
        tls_subject=record["tls_subject"],
        message_id=record["message_id"],
        outcome=Outcome(outcome) if outcome in Outcome.__members__ else None,
        recipients=record["recipients"],
        refused_before=record["refused_before"],
    )
