"""Finds the connecting Exchange server and its build in a message's `Received` lines.

Exchange writes its build into the line it adds when it receives, so the server that hands the message over stands
as the `by` host of the topmost line, and that line carries its build. Everything in these lines is claimed by the
sender; a missing build is an ordinary result.

A host stamps a message again when it passes it on to itself. Such lines form its unbroken run, from the topmost line
down: each but the last says that the message came from the very host that wrote it. What stands below came with the
message, anybody may have written it, and it says nothing about the host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.exchange.any_form import ReceivedLine
from streams.domain.exchange.build import Build, Product
from streams.domain.exchange.clauses import MAX_LINE_CHARS
from streams.domain.exchange.dates import date_of
from streams.domain.exchange.names import ADDRESS, HELO, canonical_address, canonical_name
from streams.domain.exchange.protocols import WITHOUT_BUILD
from streams.domain.exchange.received import parse_received
from streams.domain.validation import MalformedError

MAX_LINES: Final = 256
"""Of a message that are read."""
UNNAMED = ADDRESS
"""The server of a message that shows neither a host name nor an address."""
_MOST_NAME_CHARS: Final = MAX_SERVER_CHARS - len(HELO)
_LONG_WORD = re.compile(rf"\S{{{_MOST_NAME_CHARS + 1}}}")


class Identity(StrEnum):
    """How sure the name of a server is."""

    STAMP = "STAMP"
    HELO = "HELO"
    ADDRESS = "ADDRESS"


class Origin(StrEnum):
    """What wrote the topmost line; SMTPSVC, HTTP_DAV (Exchange 2003) and IMS (up to 5.5) stamp no Exchange build."""

    EXCHANGE = "EXCHANGE"
    GATEWAY = "GATEWAY"
    SMTPSVC = "SMTPSVC"
    HTTP_DAV = "HTTP_DAV"
    IMS = "IMS"
    NONE = "NOTHING"


class Detection(NamedTuple):
    """The connecting server as its lines present it.

    `server` is `UNNAMED` where nothing at all names it: no host, no greeting, no address.
    `position` and `received` are the evidence: the raw line that carries the build, or the topmost line where none
    does, and its index from the top; None without lines. A line is kept as far as it is read.
    `by_address` is the canonical address that the topmost line gives its `by` host, `dated_at` that line's own date in
    UTC milliseconds; None where it has none that can be read.
    """

    server: str
    identity: Identity
    origin: Origin
    build: Build | None
    protocol: str | None
    position: int | None
    received: str | None
    by_address: str | None = None
    dated_at: int | None = None


class HostRun:
    """The unbroken run of a host that names itself in the topmost line, as far as `detect` asks for it.

    `host` and `by_address` are bytes of the topmost line's `by` host and of its address, which is empty where it gives
    none. `build`, `protocol` and `position` are those of the line that is the evidence.
    """

    __slots__ = ("build", "by_address", "host", "position", "protocol")

    def __init__(
        self, host: bytes, by_address: bytes, build: Build | None, protocol: str | None, position: int
    ) -> None:
        self.host, self.by_address = host, by_address
        self.build, self.protocol, self.position = build, protocol, position


def is_higher(candidate: Build | None, best: Build | None) -> bool:
    """Whether one stamp of a host counts before another one: inside its CU line only, and any before none."""
    if candidate is None or best is None:
        return candidate is not None
    return candidate.cu_line == best.cu_line and (candidate.update or 0) > (best.update or 0)


def is_exchange_online(server: str, build: Build | None) -> bool:
    """Whether a stamp is of Exchange Online from before 15.20, which ran builds 14.15 to 15.1 on hosts of its own."""
    return (
        build is not None and server.endswith((".outlook.com", ".exchangelabs.com")) and (14, 15) <= build[:2] < (15, 2)
    )


def product_of(server: str, build: Build | None) -> Product | None:
    """The product that a server's stamp shows; None without a stamp, and where no product has such a number."""
    if is_exchange_online(server, build):
        return Product.EXCHANGE_ONLINE
    return build.product if build is not None else None


def origin_of(line: ReceivedLine) -> Origin:
    """What wrote a line."""
    return _origin_by(line.protocol)


def _origin_by(protocol: str | None) -> Origin:
    if protocol is None:
        return Origin.GATEWAY
    other = WITHOUT_BUILD.get(protocol)
    return Origin.EXCHANGE if other is None else Origin(other)


def check_server(received: Sequence[str], helo: str) -> None:
    """Refuse lines and a greeting that name a server in more characters than a key can have.

    Raises:
        MalformedError: the name is longer than 255 characters.
    """
    named = received[0][:MAX_LINE_CHARS] if received else ""
    # A name is one word, and grows only where it is not in ASCII yet.
    is_long = len(helo) > _MOST_NAME_CHARS or _LONG_WORD.search(named) is not None
    if is_long or not (named.isascii() and helo.isascii()):
        _server_of(parse_received(named) if received else None, helo, "")


def _server_of(top: ReceivedLine | None, helo: str, address: str) -> tuple[str, Identity]:
    greeting = canonical_name(helo) if top is None or top.by_host is None else None
    if top is not None and top.by_host is not None:
        server, identity = top.by_host, Identity.STAMP
    elif greeting is not None:
        server, identity = HELO + greeting, Identity.HELO
    else:
        server, identity = ADDRESS + (canonical_address(address) or address.lower()), Identity.ADDRESS
    if len(server) > MAX_SERVER_CHARS:
        raise MalformedError(f"server: {server[:80]!r:.100}: must be at most {MAX_SERVER_CHARS} characters")
    return server, identity


def detect(received: Sequence[str], helo: str, source_ip: str, *, is_dated: bool = True) -> Detection:
    """Which server connects, and the highest build of its topmost line's CU line in its unbroken run.

    Args:
        received: `Received` header values, topmost first, below the line that the receiving service added.
        helo: the name the client gave; may be empty.
        source_ip: the address it connected from; empty where only the lines are known, then theirs counts.
        is_dated: whether the topmost line's date is read.

    Raises:
        MalformedError: the server's name is too long.
    """
    top = parse_received(received[0]) if received else None
    server, identity = _server_of(top, helo, source_ip or (top.by_address if top else None) or "")
    if top is None:
        return Detection(server, identity, Origin.NONE, None, None, None, None)
    origin, dated_at = origin_of(top), date_of(received[0]) if is_dated else None
    position, best = 0, top
    if origin is Origin.EXCHANGE and top.is_from_itself:
        for index, raw in enumerate(received[1:MAX_LINES], 1):
            line = parse_received(raw)
            if line.by_host != top.by_host:
                break
            if is_higher(line.build, best.build):
                position, best = index, line
            if not line.is_from_itself:
                break
    evidence = received[position][:MAX_LINE_CHARS]
    return Detection(server, identity, origin, best.build, best.protocol, position, evidence, top.by_address, dated_at)


def detection_of(run: HostRun, received: Sequence[str]) -> Detection:
    """What `detect` gives for lines whose run is known: nothing but the topmost line's date is read of them."""
    return Detection(
        server=run.host.decode(),
        identity=Identity.STAMP,
        origin=_origin_by(run.protocol),
        build=run.build,
        protocol=run.protocol,
        position=run.position,
        received=received[run.position][:MAX_LINE_CHARS],
        by_address=run.by_address.decode() or None,
        dated_at=date_of(received[0]),
    )
