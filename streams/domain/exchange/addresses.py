"""The addresses that a `Received` line shows beside a host's name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from streams.domain.exchange.names import canonical_address, is_of_host

# Words of a comment, and those that are an address or would be one, with what may stand around it.
_WORD = re.compile(r"[0-9A-Za-z.:%_-]++")
_ADDRESS = re.compile(
    r"(?:IPv6:)?([0-9]++(?:\.[0-9]*+)++|[0-9A-F]*+:[0-9A-F]*+:[0-9A-F:.]*+)(%[0-9A-Z._-]*+)?(?::[0-9]*+)?",
    re.IGNORECASE | re.ASCII,
)
_ONLY_ADDRESS = re.compile(r"[0-9A-Fa-f.:]++(?:%[0-9A-Za-z._-]++)?")
_MAX_COMMENT_CHARS: Final = 64
"""Of a comment whose addresses are remembered."""


def without_prefix(text: str) -> str:
    """An address without the tag that SMTP gives IPv6 ones (RFC 5321, 4.1.3)."""
    return text[5:] if text[:5].lower() == "ipv6:" else text


def addresses_in(comment: str) -> tuple[str, ...] | None:
    """The canonical addresses in a comment; None where a word that would be one is none."""
    # All but always it is one address, in brackets or not.
    only = comment[1:-1] if comment.startswith("[") and comment.endswith("]") else comment
    if _ONLY_ADDRESS.fullmatch(only) is not None and (address := canonical_address(only)) is not None:
        return (address,)
    return _cached_addresses(comment) if len(comment) <= _MAX_COMMENT_CHARS else _read_addresses(comment)


@lru_cache(4096)  # of most hosts there is one comment
def _cached_addresses(comment: str) -> tuple[str, ...] | None:
    return _read_addresses(comment)


def _read_addresses(comment: str) -> tuple[str, ...] | None:
    addresses: list[str] = []
    for found in _WORD.finditer(comment):
        word = _ADDRESS.fullmatch(found[0])
        if word is None:
            continue
        address = canonical_address(word[1] + (word[2] or ""))
        if address is None:
            return None
        addresses.append(address)
    return tuple(addresses)


def first_address(comment: str) -> str | None:
    """The first canonical address in a comment, None where it has none."""
    addresses = addresses_in(comment)
    return addresses[0] if addresses else None


def is_shown_by(by_address: str | None, comments: list[str]) -> bool:
    """Whether the `by` host itself can have shown all addresses in the comments behind its name.

    Comments without any readable address say nothing that could be checked, so they do not pass for it.
    """
    if not comments:
        return True
    shown: list[str] = []
    for comment in comments:
        addresses = addresses_in(comment)
        if addresses is None:
            return False
        shown += addresses
    return bool(shown) and all(is_of_host(address, by_address) for address in shown)
