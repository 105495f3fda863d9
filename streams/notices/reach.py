"""Which addresses may be called for tenants, and which URLs may be a destination: pure checks, without any look-up.

Nothing inside the operator's network is reached, but what the operator lists as allowed networks. A name says nothing
of where it leads: whoever calls a URL checks each address that it resolves to, where the socket is made.

A NAT64 prefix of the operator's own (RFC 6052 with another prefix than 64:ff9b::/96) cannot be told from public
addresses: where one is in use, the network itself has to keep processes that call tenants' URLs from it.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from yarl import URL

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MAX_URL_CHARS: Final = 2_048
_FIRST_FREE_PORT: Final = 1_024
_HTTP_PORT: Final = 80
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_SCHEME: Final = re.compile(r"[^:/]*:/*")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_REFUSED: Final[tuple[Network, ...]] = (
    # `ipaddress` calls some of these global, by its version: tunnels, documentation, protocols, metadata of clouds.
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)


class UrlError(ValueError):
    """A URL that is never called; the message says what it has to be."""


class GuardRules(NamedTuple):
    """What may be reached besides public addresses, and at which ports below 1024."""

    allowed: tuple[Network, ...] = ()
    low_ports: frozenset[int] = frozenset({443})

    def may_connect(self, address: Address, port: int, *, is_encrypted: bool) -> bool:
        """Whether a socket may be connected to an address; without TLS only in allowed networks."""
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        is_allowed = any(address in network for network in self.allowed)
        low_ports = self.low_ports | {_HTTP_PORT} if is_allowed else self.low_ports
        if port < _FIRST_FREE_PORT and port not in low_ports:
            return False
        return is_allowed or (is_encrypted and is_public(address))


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet, whatever IPv4 address it may carry inside."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_url(text: str, rules: GuardRules) -> URL:
    """The URL as it is called.

    Raises:
        UrlError: it is none, or one that would be refused whatever its name resolves to.
    """
    if len(text) > MAX_URL_CHARS:
        raise UrlError(f"must have at most {MAX_URL_CHARS} characters")
    if _UNSEEN.search(text):
        raise UrlError("must have no blank, backslash or control character")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except (ValueError, UnicodeError):
        raise UrlError("must be a URL such as https://HOST/PATH") from None
    if url.scheme not in ("http", "https") or not host or port is None:
        raise UrlError("must begin with https:// and a host")
    if url.raw_user is not None or url.raw_password is not None or "@" in _SCHEME.sub("", text, 1).split("/")[0]:
        raise UrlError("must have no user or password")
    if "#" in text:
        raise UrlError("must have no fragment")
    if url.scheme == "http" and not rules.allowed:
        raise UrlError("must begin with https://")
    if port < _FIRST_FREE_PORT and port not in rules.low_ports and not (rules.allowed and port == _HTTP_PORT):
        raise UrlError("must have port 443, or one from 1024 on")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return url
    if not rules.may_connect(address, port, is_encrypted=url.scheme == "https"):
        raise UrlError("must be a public address, and begin with https://")
    return url
