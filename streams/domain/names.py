"""One spelling for each server: host names, addresses, and the names that records and commands give a server."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final

HELO: Final = "helo:"
"""Begins the name of a server that only its greeting names."""
ADDRESS: Final = "ip:"
"""Begins the name of a server that only its address names."""
MAX_SERVER_CHARS: Final = 255

_NUMBERS = re.compile(r"[0-9.]+")
_DOTS = str.maketrans("\u3002", ".")
_V4_NETWORKS = [
    ipaddress.IPv4Network(text)
    for text in ("127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]
_V6_NETWORKS = [ipaddress.IPv6Network(text) for text in ("::1/128", "fe80::/10", "fc00::/7")]
_NETWORK_BITS: Final = 64
_MAX_ADDRESS_CHARS: Final = 64
"""An IPv6 address has 45 at most; the rest is for its zone."""


def canonical_name(text: str) -> str | None:
    """A host name in its one spelling; None for what is no name.

    Lower-case, without dots around it, in ASCII. No name has blanks or control characters in it, a port, or no letter;
    nor is an address one, also in brackets. A label beyond ASCII is mapped as UTS #46 does without its transition: IDNA
    2003, which `encodings.idna` is, would make one name of `straße` and `strasse`.
    """
    name = text.strip(" \t\r\n")
    if name.isascii():
        name = name.strip(".").lower()
    else:
        # The first turns full-width forms and dots into plain ones, the second what lower case takes apart.
        mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).lower()).translate(_DOTS)
        name = mapped.strip(".")
    if not name or ":" in name or "[" in name or not name.isprintable() or " " in name or _NUMBERS.fullmatch(name):
        return None
    if not name.isascii():
        name = ".".join([_ascii_label(label) for label in name.split(".")])
    return name if any(character.isalnum() for character in name) else None


def _ascii_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def canonical_address(text: str) -> str | None:
    """An IPv4 or IPv6 address in its one spelling; None for what is none.

    IPv6 is compressed and loses its zone, which only its own host knows; an IPv4 address inside of it is an IPv4 one.
    """
    return _canonical_address(text) if len(text) <= _MAX_ADDRESS_CHARS else None


@lru_cache(16_384)
def _canonical_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address).partition("%")[0]


def canonical_server(text: str) -> str:
    """The name of a server as its records have it, of what a person or a command calls it."""
    name = text.strip()
    kind = name[: name.find(":") + 1].lower()
    if kind == HELO:
        greeting = name[len(HELO) :]
        return HELO + (canonical_name(greeting) or greeting.lower())
    if kind == ADDRESS:
        address = name[len(ADDRESS) :]
        return ADDRESS + (canonical_address(address) or address.lower())
    return canonical_name(name) or name.lower()


def is_of_host(address: str, own: str | None) -> bool:
    """Whether a host with the canonical address `own` can show itself `address`, a canonical one too.

    Its own, a loopback, link-local or private address (RFC 1122, 1918, 3927, 4193, 4291), or one of its own /64 in
    IPv6.
    """
    if address == own:
        return True
    if ":" not in address:
        number = ipaddress.IPv4Address(address)
        return any(number in network for network in _V4_NETWORKS)
    shown = ipaddress.IPv6Address(address)
    if any(shown in network for network in _V6_NETWORKS):
        return True
    if own is None or ":" not in own:
        return False
    return int(shown) >> _NETWORK_BITS == int(ipaddress.IPv6Address(own)) >> _NETWORK_BITS
