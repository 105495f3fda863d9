"""Finds the connecting Exchange server and its build in a message's `Received` lines.

Exchange writes its build into the line it adds when it receives, so the server that hands the message over stands
as the `by` host of the topmost line, and that line carries its build. Everything in these lines is claimed by the
sender; a missing build is an ordinary result.

Parsing is linear: each line is cut to `MAX_LINE_CHARS`, at most `MAX_LINES` lines are read, and a line is split at
keywords found by position, never by a pattern that could backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from streams.domain.build import Build, parse_build

MAX_LINES = 256
MAX_LINE_CHARS = 8192

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")
_PARENTHESIS = re.compile(r"[()]")
_NUMBER = re.compile(r"[0-9][0-9.]*")
_SMTP = "Microsoft SMTP Server"
_SMTPSVC = "Microsoft SMTPSVC"
_EXCHANGE_PROTOCOLS = (_SMTP, "mapi", "ShadowRedundancy")


class Identity(StrEnum):
    """How sure the name of a server is."""

    STAMP = "STAMP"
    HELO = "HELO"
    ADDRESS = "ADDRESS"


class Origin(StrEnum):
    """What wrote the topmost line."""

    EXCHANGE = "EXCHANGE"
    GATEWAY = "GATEWAY"
    SMTPSVC = "SMTPSVC"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class ReceivedLine:
    """One unfolded line in parts; `by_host` is lower-case, `protocol` None where Exchange did not write it."""

    by_host: str | None
    protocol: str | None
    build: Build | None


@dataclass(frozen=True, slots=True)
class Detection:
    """The connecting server as its lines present it.

    `position` and `received` are the evidence: the raw line that carries the build, or the topmost line where none
    does, and its index from the top; None without lines.
    """

    server: str
    identity: Identity
    origin: Origin
    build: Build | None
    protocol: str | None
    position: int | None
    received: str | None


def unfold(line: str) -> str:
    """One line with single blanks; NUL bytes and other controls count as blanks, as a fold does."""
    text = " ".join(line[:MAX_LINE_CHARS].split())
    if text.isprintable():
        return text
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _without_comments(text: str) -> str:
    """`text` without its parenthesised comments; as it is where they do not balance."""
    kept: list[str] = []
    depth = begin = 0
    for found in _PARENTHESIS.finditer(text):
        if found[0] == "(":
            if depth == 0:
                kept.append(text[begin : found.start()])
            depth += 1
        else:
            depth -= 1
            if depth < 0:
                return text
            begin = found.end()
    if depth:
        return text
    kept.append(text[begin:])
    return " ".join("".join(kept).split())


def parse_received(line: str) -> ReceivedLine:
    """Take one `Received` header value apart; a foreign line gives None in all that it lacks."""
    text = " " + _without_comments(unfold(line))
    # The date stands behind the last semicolon and can hold none of the parts.
    clauses = text.rsplit(";", 1)[0]
    with_at = clauses.find(" with ")
    by_at = clauses.find(" by ", 0, with_at) if with_at >= 0 else clauses.find(" by ")
    by_host = None
    if by_at >= 0 and (found := _HOST.match(clauses, by_at + len(" by "))):
        by_host = found[0].lower()
    if with_at < 0:
        return ReceivedLine(by_host, None, None)
    rest = clauses[with_at + len(" with ") :]
    if rest.startswith(_SMTPSVC):
        return ReceivedLine(by_host, _SMTPSVC, None)
    protocol = next((name for name in _EXCHANGE_PROTOCOLS if rest == name or rest.startswith(name + " ")), None)
    if protocol is None:
        return ReceivedLine(by_host, None, None)
    if by_host == "pickup" and text.startswith(" from localhost by Pickup with "):
        by_host = None
    return ReceivedLine(by_host, protocol, _build_after_id(rest))


def _build_after_id(rest: str) -> Build | None:
    id_at = rest.find(" id ")
    if id_at < 0 or not (number := _NUMBER.match(rest, id_at + len(" id "))):
        return None
    try:
        return parse_build(number[0])
    except ValueError:
        return None


def _is_higher(candidate: Build, best: Build | None) -> bool:
    if best is None:
        return True
    return [part or 0 for part in candidate] > [part or 0 for part in best]


def detect(received: Sequence[str], helo: str, source_ip: str) -> Detection:
    """Which server connects, and the highest build that this server's own lines claim.

    Args:
        received: `Received` header values, topmost first, below the line that the receiving service added.
        helo: the name the client gave; may be empty.
        source_ip: the address it connected from.
    """
    top = parse_received(received[0]) if received else None
    named = top is not None and top.by_host is not None
    if named and top is not None and top.by_host is not None:
        server, identity = top.by_host[:255], Identity.STAMP
    elif helo.strip():
        server, identity = f"helo:{helo.strip().lower()}"[:255], Identity.HELO
    else:
        server, identity = f"ip:{source_ip}"[:255], Identity.ADDRESS
    if top is None:
        return Detection(server, identity, Origin.NOTHING, None, None, None, None)
    if top.protocol is None:
        return Detection(server, identity, Origin.GATEWAY, None, None, 0, received[0])
    if top.protocol == _SMTPSVC:
        return Detection(server, identity, Origin.SMTPSVC, None, top.protocol, 0, received[0])
    position, best = 0, top
    for index, raw in enumerate(received[:MAX_LINES]):
        line = top if index == 0 else parse_received(raw)
        if index and (not named or line.by_host != top.by_host):
            continue
        if line.build is not None and _is_higher(line.build, best.build):
            position, best = index, line
    return Detection(server, identity, Origin.EXCHANGE, best.build, best.protocol, position, received[position])
