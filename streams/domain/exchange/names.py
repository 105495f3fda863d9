"""One spelling for each server: host names, addresses, and the names that records and commands give a server."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final

from streams.domain.bounds import MAX_SERVER_CHARS

HELO: Final = "helo:"
"""Begins the name of a server that only its greeting names."""
ADDRESS: Final = "ip:"
"""Begins the name of a server that only its address names."""

_MAX_MAPPED_CHARS: Final = 4 * MAX_SERVER_CHARS
_NUMBERS = re.compile(r"[0-9.]+")
_DOTS = str.maketrans("\u3002", ".")
_BYTE = r"(?:0|1[0-9]{0,2}|2(?:[0-4][0-9]?|5[0-5]?|[6-9])?|[3-9][0-9]?)"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
# Most of what hosts write is canonical already, as `fe80::1:2:3:4`: one run of at least two zeros, and no other zero.
_GROUP = r"[1-9a-f][0-9a-f]{0,3}"
_PLAIN_IPV6 = re.compile(rf"{_GROUP}(?::{_GROUP})*+::{_GROUP}(?::{_GROUP})*+")
_MAX_PLAIN_COLONS: Final = 6
# Of canonical addresses: loopback, link-local and private ones (RFC 1122, 1918, 3927, 4193, 4291).
_PRIVATE = re.compile(
    r"(?:127|10|169\.254|192\.168|172\.(?:1[6-9]|2[0-9]|3[01]))\.|::1$|(?:fe[89ab][0-9a-f]|f[cd][0-9a-f]{2}):"
)
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
    # What is far too long is so in any spelling, and mapping it would cost more than its length.
    if name.isascii() or len(name) > _MAX_MAPPED_CHARS:
        name = name.strip(".").lower()
    else:
        # The first turns full-width forms and dots into plain ones, the second what lower case takes apart.
        mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).lower()).translate(_DOTS)
        name = mapped.strip(".")
    if not name or ":" in name or "[" in name or not name.isprintable() or " " in name or _NUMBERS.fullmatch(name):
        return None
    if not name.isascii() and len(name) <= MAX_SERVER_CHARS:
        name = ".".join([_ascii_label(label) for label in name.split(".")])
    return name if any(character.isalnum() for character in name) else None


def _ascii_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def canonical_address(text: str) -> str | None:
    """An IPv4 or IPv6 address in its one spelling; None for what is none.

    IPv6 is compressed and loses its zone, which only its own host knows; an IPv4 address inside of it is an IPv4 one.
    """
    if ":" not in text:
        return text if _IPV4.fullmatch(text) is not None else None
    if len(text) > _MAX_ADDRESS_CHARS:
        return None
    address, percent, zone = text.partition("%")
    if percent and (not zone or "%" in zone):
        return None
    if address.count(":") <= _MAX_PLAIN_COLONS and _PLAIN_IPV6.fullmatch(address) is not None:
        return address
    return _compressed(address)


@lru_cache(16_384)
def _compressed(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    return str(address.ipv4_mapped or address)


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

    Its own, a loopback, link-local or private address, or one of its own /64 in IPv6.
    """
    if address == own or _PRIVATE.match(address) is not None:
        return True
    if own is None or ":" not in own or ":" not in address:
        return False
    return _network(address) == _network(own)


def _network(address: str) -> int:
    return int(ipaddress.IPv6Address(address)) >> _NETWORK_BITS
