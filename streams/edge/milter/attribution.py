"""Who a client is, by what the MTA says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from streams.domain.exchange.names import canonical_address
from streams.domain.policy.policy import ConnectorType
from streams.domain.validation import MalformedError, check_tenant
from streams.edge.client import Client, Connector
from streams.edge.connectors.entries import TYPES, check_connector

TENANT, CONNECTOR, CONNECTOR_TYPE = b"tes_tenant", b"tes_connector", b"tes_connector_type"
CERT_SUBJECT, CN_SUBJECT, CERT_FINGERPRINT, VERIFY = b"cert_subject", b"cn_subject", b"cert_fp", b"verify"
MACROS: Final = frozenset(
    (TENANT, CONNECTOR, CONNECTOR_TYPE, CERT_SUBJECT, CN_SUBJECT, CERT_FINGERPRINT, VERIFY),
)
"""All that is asked for here."""

_IPV6_PREFIX = re.compile(rb"ipv6:", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
_TRUSTED: Final = "OK"


class UnattributedError(ValueError):
    """What the MTA says of a client cannot be so; the message says what, and why."""


def text_of(value: bytes) -> str:
    """Foreign bytes as text that can be written anywhere."""
    return value.decode("utf-8", "replace")


def source_ip(address: bytes) -> str:
    """The canonical address of a client; Sendmail writes `IPv6:` before such a one.

    Raises:
        UnattributedError: it is no address.
    """
    found = canonical_address(text_of(_IPV6_PREFIX.sub(b"", address, count=1)))
    if found is None:
        raise UnattributedError(f"address: {text_of(address[:64])!r}: must be an IPv4 or IPv6 address")
    return found


def client_of(address: str, helo: str, macro: Callable[[bytes], str | None]) -> Client:
    """A client of the canonical address, by the values of the macros that are known of it.

    Raises:
        UnattributedError: a macro names what cannot be a tenant or a connector.
    """
    return Client(address, helo, _tls_subject(macro), _tls_fingerprint(macro), _connector(macro))


def _tls_subject(macro: Callable[[bytes], str | None]) -> str | None:
    """The name of a trusted certificate.

    Postfix has `{cert_subject}`, a name, of trusted certificates only. Sendmail has it of any, in the form `/C=…/CN=…`,
    and says in `{verify}` whether it is trusted.
    """
    verified = macro(VERIFY)
    if verified is not None:
        return macro(CN_SUBJECT) if verified == _TRUSTED else None
    subject = macro(CERT_SUBJECT)
    return None if subject is None or subject.startswith("/") else subject


def _tls_fingerprint(macro: Callable[[bytes], str | None]) -> str | None:
    fingerprint = (macro(CERT_FINGERPRINT) or "").replace(":", "").lower()
    return fingerprint if _HEXADECIMAL.fullmatch(fingerprint) else None


def _connector(macro: Callable[[bytes], str | None]) -> Connector | None:
    tenant, connector, kind = macro(TENANT), macro(CONNECTOR), macro(CONNECTOR_TYPE)
    if tenant is None and connector is None and kind is None:
        return None
    for macro_name, value, check in ((TENANT, tenant, check_tenant), (CONNECTOR, connector, check_connector)):
        try:
            check(value or "")
        except MalformedError as error:
            raise UnattributedError(f"{{{macro_name.decode()}}}: {error}") from error
    if kind and kind not in TYPES:
        raise UnattributedError(f"{{tes_connector_type}}: {kind[:80]!r:.100}: must be one of {', '.join(TYPES)}")
    return Connector(tenant or "", connector or "", ConnectorType(kind or ConnectorType.ON_PREMISES))
