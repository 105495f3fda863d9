"""The JSON object of an MTA's request, checked field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from streams.domain.exchange.names import canonical_address
from streams.domain.policy.policy import ConnectorType
from streams.domain.validation import MalformedError, check_tenant
from streams.edge.client import Client, Connector, Message
from streams.edge.connectors.entries import TYPES, canonical_fingerprint, check_connector

MAX_RECIPIENTS: Final = (1 << 31) - 1
MAX_CONNECTORS: Final = 1_000
"""Connectors that MTAs named and that are not checked again."""
_CONNECTORS: Final[dict[tuple[str, str, str], Connector]] = {}
_SHOWN_CHARS: Final = 120
_CLIENT: Final = frozenset(
    ("source_ip", "helo", "tls_subject", "tls_fingerprint", "tenant_id", "connector_id", "connector_type")
)
_MESSAGE: Final = _CLIENT | {"received", "message_id", "recipients", "queue_id"}

Value = TypeVar("Value")


class FieldError(NamedTuple):
    """What is wrong with a field; `value` is its beginning, as text."""

    field: str
    value: str
    rule: str


class RequestError(ValueError):
    """A request that is refused, with everything that is wrong with it."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.value!r}: {error.rule}" for error in errors))
        self.errors = errors


def read_message(body: bytes) -> tuple[Client, Message]:
    """The client and the message of a `decide` request.

    Raises:
        RequestError: names every field that is wrong.
    """
    content = _object(body)
    errors: list[FieldError] = []
    client = _client(content, _MESSAGE, errors)
    received = content.get("received")
    if type(received) is not list or not all(map(_is_text, received)):
        errors.append(_error("received", received, "must be a list of texts, the topmost Received field first"))
        received = []
    recipients = content.get("recipients", 0)
    if type(recipients) is not int or not 0 <= recipients <= MAX_RECIPIENTS:
        errors.append(_error("recipients", recipients, f"must be a number, 0 to {MAX_RECIPIENTS}"))
        recipients = 0
    message = Message(
        tuple(received), _optional(content, "message_id", errors), recipients, _optional(content, "queue_id", errors)
    )
    if errors:
        raise RequestError(*errors)
    return client, message


def read_client(body: bytes) -> Client:
    """The client of a `decide-mail` request.

    Raises:
        RequestError: names every field that is wrong.
    """
    errors: list[FieldError] = []
    client = _client(_object(body), _CLIENT, errors)
    if errors:
        raise RequestError(*errors)
    return client


def _is_text(value: object) -> bool:
    return type(value) is str


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except ValueError as error:
        raise RequestError(FieldError("body", _shown(body[:_SHOWN_CHARS]), f"must be JSON: {error}")) from None
    if type(content) is not dict:
        raise RequestError(_error("body", content, "must be a JSON object"))
    return content


def _client(content: dict[str, Any], known: frozenset[str], errors: list[FieldError]) -> Client:
    if not content.keys() <= known:
        unknown = [name for name in content if name not in known]
        rule = f"unknown; known are {', '.join(sorted(known))}"
        errors += [_error(_shown(name), content[name], rule) for name in unknown[:10]]
    given = content.get("source_ip")
    source_ip = canonical_address(given) if type(given) is str else None
    if source_ip is None:
        errors.append(_error("source_ip", given, "must be an IPv4 or IPv6 address"))
    helo = content.get("helo", "")
    if type(helo) is not str:
        errors.append(_error("helo", helo, "must be text"))
        helo = ""
    fingerprint = _optional(content, "tls_fingerprint", errors)
    if fingerprint is not None:
        fingerprint = _checked("tls_fingerprint", fingerprint, canonical_fingerprint, errors)
    return Client(
        source_ip or "", helo, _optional(content, "tls_subject", errors), fingerprint, _connector(content, errors)
    )


def _connector(content: dict[str, Any], errors: list[FieldError]) -> Connector | None:
    """The connector that the MTA itself names; None where it names none, or `errors` says what is wrong."""
    tenant_id, connector_id = _optional(content, "tenant_id", errors), _optional(content, "connector_id", errors)
    kind = content.get("connector_type")
    if tenant_id is None and connector_id is None:
        if kind is not None:
            errors.append(_error("connector_type", kind, "must go with tenant_id and connector_id"))
        return None
    if tenant_id is None or connector_id is None:
        missing, other = ("tenant_id", "connector_id") if tenant_id is None else ("connector_id", "tenant_id")
        errors.append(_error(missing, None, f"must go with {other}"))
        return None
    if kind is None:
        kind = ConnectorType.ON_PREMISES
    elif kind not in TYPES:
        errors.append(_error("connector_type", kind, f"must be one of {', '.join(TYPES)}"))
        return None
    key = (tenant_id, connector_id, kind)
    known = _CONNECTORS.get(key)
    if known is not None:
        return known
    count = len(errors)
    _checked("tenant_id", tenant_id, _returning(check_tenant), errors)
    _checked("connector_id", connector_id, _returning(check_connector), errors)
    if len(errors) > count:
        return None
    if len(_CONNECTORS) >= MAX_CONNECTORS:
        _CONNECTORS.clear()
    connector = _CONNECTORS[key] = Connector(tenant_id, connector_id, ConnectorType(kind))
    return connector


def _optional(content: dict[str, Any], name: str, errors: list[FieldError]) -> str | None:
    value = content.get(name)
    if value is not None and type(value) is not str:
        errors.append(_error(name, value, "must be text or null"))
        return None
    return value


def _checked(name: str, text: str, parse: Callable[[str], Value], errors: list[FieldError]) -> Value | None:
    try:
        return parse(text)
    except MalformedError as malformed:
        errors.append(_error(name, text, str(malformed).rpartition(": ")[2]))
    except ValueError as error:
        errors.append(_error(name, text, str(error)))
    return None


def _returning(check: Callable[[str], None]) -> Callable[[str], str]:
    def passed(text: str) -> str:
        check(text)
        return text

    return passed


def _error(field: str, value: object, rule: str) -> FieldError:
    return FieldError(field, _shown(value), rule)


def _shown(value: object) -> str:
    text = value.decode(errors="replace") if type(value) is bytes else str(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
