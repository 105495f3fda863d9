"""A connector as it is configured: by which certificates and addresses its clients are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, NamedTuple, TypeVar

from streams.domain.exchange.names import canonical_name
from streams.domain.mailboxes import is_mail_address
from streams.domain.policy.policy import ConnectorType
from streams.domain.validation import MalformedError, check_tenant
from streams.edge.client import Connector

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

MAX_ERRORS: Final = 100
"""Of one set of connectors; it can be wrong in more places than anyone reads."""
MAX_CONNECTOR_CHARS: Final = 255
TYPES: Final = (ConnectorType.ON_PREMISES, ConnectorType.PARTNER)

_TEXT_RULE: Final = "must be text: put it in quotes"
_SHOWN_CHARS: Final = 120
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_HEADS: Final = ("connector_id", "tenant_id", "type", "match", "contacts")
MAX_CONTACTS: Final = 10
"""Of a connector."""
_MATCHES: Final = ("tls_subjects", "tls_fingerprints", "cidrs")


class ConnectorsError(ValueError):
    """Connectors that are refused; `errors` holds every reason."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class Entry(NamedTuple):
    """A connector with what its clients show, in one spelling each; `source` is where it was read."""

    connector: Connector
    tls_subjects: tuple[str, ...]
    tls_fingerprints: tuple[str, ...]
    networks: tuple[Network, ...]
    source: str
    contacts: tuple[str, ...] = ()
    """Mail addresses that are told what happens to the tenant's servers."""

    @property
    def name(self) -> str:
        """What it is called in messages, and its key in the topic."""
        return f"{self.connector.tenant_id}/{self.connector.connector_id}"


class EntryReader:
    """Reads entries out of plain values, and collects what is wrong as `source:line: entry: field: value: rule`."""

    def __init__(self, source: str, lines: Mapping[str, int] | None = None) -> None:
        """Read from `source`; `lines` has the line of each field by its path, such as `[0].type`."""
        self.errors: list[str] = []
        self._source, self._lines = source, lines or {}
        self._place, self._entry = "", ""

    def entry(self, content: Any, index: int) -> Entry | None:
        """The entry at a place of a list; None where it is refused, see `errors`."""
        self._place, self._entry = f"[{index}]", f"entry {index + 1}"
        before = len(self.errors)
        if not isinstance(content, dict):
            self.refuse("", content, "must be a mapping with connector_id, tenant_id, type and match")
            return None
        self._refuse_unknown(content, "", _HEADS)
        for name, check in (("tenant_id", check_tenant), ("connector_id", check_connector)):
            value = content.get(name)
            if not isinstance(value, str):
                self.refuse(name, value, "is missing" if value is None else _TEXT_RULE)
                continue
            try:
                check(value)
            except MalformedError as error:
                self.refuse(name, value, str(error).rpartition(": ")[2])
        tenant_id, connector_id = content.get("tenant_id", ""), content.get("connector_id", "")
        if len(self.errors) == before:
            self._entry = f"{tenant_id}/{connector_id}"
        kind = content.get("type")
        if kind not in TYPES:
            self.refuse("type", kind, f"must be one of {', '.join(TYPES)}")
        subjects, fingerprints, networks = self._match(content.get("match"))
        contacts = tuple(self._values(content, "contacts", _contact, ""))
        if len(contacts) > MAX_CONTACTS:
            self.refuse("contacts", contacts, f"must be at most {MAX_CONTACTS}")
        if len(self.errors) > before:
            return None
        connector = Connector(tenant_id, connector_id, ConnectorType(str(kind)))
        return Entry(connector, subjects, fingerprints, networks, self._source, contacts)

    def refuse(self, path: str, value: object, rule: str) -> None:
        """Note what is wrong with a field of the entry that is read."""
        if len(self.errors) >= MAX_ERRORS:
            return
        at = f"{self._place}.{path}".rstrip(".")
        while at and at not in self._lines:
            at = at.rpartition(".")[0]
        line = f":{self._lines[at]}" if at else ""
        field = f"{path}: " if path else ""
        self.errors.append(f"{self._source}{line}: {self._entry}: {field}{str(value)[:_SHOWN_CHARS]!r}: {rule}")

    def _match(self, match: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Network, ...]]:
        if not isinstance(match, dict):
            self.refuse("match", match, f"must be a mapping with at least one of {', '.join(_MATCHES)}")
            return (), (), ()
        before = len(self.errors)
        self._refuse_unknown(match, "match.", _MATCHES)
        found = (
            tuple(self._values(match, "tls_subjects", _subject)),
            tuple(self._values(match, "tls_fingerprints", canonical_fingerprint)),
            tuple(self._values(match, "cidrs", _network)),
        )
        if not any(found) and len(self.errors) == before:
            self.refuse("match", match, f"must have a value in at least one of {', '.join(_MATCHES)}")
        return found

    def _values(
        self, match: dict[str, Any], name: str, parse: Callable[[str], Value], before: str = "match."
    ) -> Iterator[Value]:
        values = match.get(name, [])
        if not isinstance(values, list):
            self.refuse(f"{before}{name}", values, "must be a list")
            return
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(f"{before}{name}[{index}]", value, _TEXT_RULE)
                continue
            try:
                yield parse(value)
            except ValueError as error:
                self.refuse(f"{before}{name}[{index}]", value, str(error))

    def _refuse_unknown(self, content: dict[str, Any], before: str, known: tuple[str, ...]) -> None:
        for name, value in content.items():
            if name not in known:
                self.refuse(f"{before}{name[:_SHOWN_CHARS]}", value, f"unknown; known are {', '.join(known)}")


def check_connector(connector_id: str) -> None:
    """Refuse the identifier of a connector that could not be part of a key.

    Raises:
        MalformedError: it is not 1 to 255 printable characters.
    """
    if not 0 < len(connector_id) <= MAX_CONNECTOR_CHARS or not connector_id.isprintable():
        rule = f"must be 1 to {MAX_CONNECTOR_CHARS} printable characters"
        raise MalformedError(f"connector_id: {connector_id[:80]!r:.100}: {rule}")


def _contact(text: str) -> str:
    if not is_mail_address(text):
        raise ValueError("must be an address of a mailbox, like admin@contoso.com")
    return text


def _subject(text: str) -> str:
    name = canonical_name(text)
    if name is None:
        raise ValueError("must be a name as certificates have it, like mx1.contoso.com or *.contoso.com")
    return name


def canonical_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint in lower-case hexadecimal digits without colons.

    Raises:
        ValueError: it is none; the message is the rule.
    """
    digits = text.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits) is None:
        raise ValueError("must be the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons")
    return digits


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"has bits set behind the prefix; the range is {ip_network(text, strict=False)}") from None
        raise ValueError("must be a range of addresses, like 192.0.2.0/24 or 2001:db8::/32") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError("must be written as a range of IPv4, as clients in it are seen")
    return network
