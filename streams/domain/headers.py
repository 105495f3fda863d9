"""Finds the connecting Exchange server and its build in a message's `Received` lines.

Exchange writes its build into the line it adds when it receives, so the server that hands the message over stands
as the `by` host of the topmost line, and that line carries its build. Everything in these lines is claimed by the
sender; a missing build is an ordinary result.

Parsing is linear: each line is cut to `MAX_LINE_CHARS`, at most `MAX_LINES` lines are read, and a line is split at
keywords found by position, or taken by a pattern whose parts cannot begin with what ends them: none can backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from streams.domain.build import Build, parse_build

MAX_LINES: Final = 256
MAX_LINE_CHARS: Final = 8192
NAMELESS = "ip:"
"""The server of a message that shows neither a host name nor an address."""

_PARENTHESIS = re.compile(r"[()]")
_BY = re.compile(r" by ", re.IGNORECASE)
_WITH = re.compile(r" with ", re.IGNORECASE)
_ID = re.compile(r" id ([^\s();,]+)", re.IGNORECASE)
_HOST = re.compile(r"[^\s()<>,;\"]+")
# A word without a dot is a host name only where a clause may follow: `by EX01 with`, not `by Some Product with`.
_END_OF_HOST = re.compile(r" ?(?:[(\[;]|$|(?:with|via|id|for|over|using)(?: |$))", re.IGNORECASE)
_SMTP = "Microsoft SMTP Server"
_MAPI = "mapi"
# What Exchange itself writes, all but always: printable tokens with single blanks between them, a host name with a dot,
# plain comments. In this form no other clause can be meant, so each part stands where it is looked for.
_TOKEN = r"(?!(?i:by|with|id) )[!-'*-:<-~]++"
_COMMENT = r"(?: \([^();]*+\))?+"
_COMMON = re.compile(
    rf"from {_TOKEN}{_COMMENT} by ((?:[A-Za-z0-9-]++\.)++[A-Za-z][A-Za-z0-9-]*+){_COMMENT}"
    rf" with ({_SMTP}|{_MAPI}){_COMMENT}"
    r" id ([0-9]{1,9}(?:\.[0-9]{1,9}){3})(?: via Frontend Transport)?; [0-9A-Za-z,:+ -]*+"
)
_SMTPSVC = "Microsoft SMTPSVC"
_PROTOCOLS = {name.lower(): name for name in (_SMTP, _SMTPSVC, _MAPI, "ShadowRedundancy")}
_PROTOCOL = re.compile(rf"(?:{'|'.join(_PROTOCOLS)})(?![^\s(,;])", re.IGNORECASE)


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


class ReceivedLine(NamedTuple):
    """One unfolded line in parts.

    `by_host` is lower-case; None where the line names none, or only an address, which is then `by_address`.
    `protocol` is None where neither Exchange nor the SMTP service of Windows wrote the line.
    """

    by_host: str | None
    by_address: str | None
    protocol: str | None
    build: Build | None


class Detection(NamedTuple):
    """The connecting server as its lines present it.

    `server` is `NAMELESS` where nothing at all names it: no host, no greeting, no address.
    `position` and `received` are the evidence: the raw line that carries the build, or the topmost line where none
    does, and its index from the top; None without lines. A line is kept as far as it is read.
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
    return " ".join(" ".join(kept).split())


def parse_received(line: str) -> ReceivedLine:
    """Take one `Received` header value apart; a foreign line gives None in all that it lacks.

    What a client says of itself stands first in a line and the writer's own clauses stand last, so the last `by` and
    `with` count: a greeting cannot pose as the server.
    """
    found = _COMMON.fullmatch(line) if len(line) <= MAX_LINE_CHARS else None
    if found is None:
        return take_apart(line)
    host, protocol, build = found.groups()
    return ReceivedLine(host.lower(), None, protocol, parse_build(build))


def take_apart(line: str) -> ReceivedLine:
    """What `parse_received` gives, for a line of any form."""
    text = " " + _without_comments(unfold(line))
    # The date stands behind the last semicolon and can hold none of the parts.
    clauses = text.rsplit(";", 1)[0]
    protocol_after = _last(_WITH, clauses, len(clauses))
    named_after = _last(_BY, clauses, protocol_after.start() if protocol_after else len(clauses))
    by_host, by_address = _host(clauses, named_after.end()) if named_after else (None, None)
    found = _PROTOCOL.match(clauses, protocol_after.end()) if protocol_after else None
    if found is None:
        return ReceivedLine(by_host, by_address, None, None)
    protocol = _PROTOCOLS[found[0].lower()]
    if protocol == _SMTPSVC:
        return ReceivedLine(by_host, by_address, protocol, None)
    if by_host == "pickup" and text.lower().startswith(" from localhost by pickup with "):
        by_host = None
    return ReceivedLine(by_host, by_address, protocol, _build_after_id(clauses, found.end()))


def _last(keyword: re.Pattern[str], text: str, end: int) -> re.Match[str] | None:
    last = None
    for last in keyword.finditer(text, 0, end):  # noqa: B007 - only the last one counts
        pass
    return last


def _host(clauses: str, at: int) -> tuple[str | None, str | None]:
    """The host name and the address at `at`; a bare or bracketed address is no name."""
    found = _HOST.match(clauses, at)
    if found is None:
        return None, None
    token = found[0]
    if token.startswith("["):
        return None, token[1:].partition("]")[0].removeprefix("IPv6:").lower() or None
    if token.count(":") > 1:
        return None, token.lower()
    # A port or a bracketed address may be glued to the name.
    name = token.partition("[")[0].partition(":")[0].strip(".").lower()
    if name.rpartition(".")[2].isdecimal():
        return None, name
    if "." not in name and not _END_OF_HOST.match(clauses, found.end()):
        return None, None
    return name or None, None


def _build_after_id(clauses: str, at: int) -> Build | None:
    found = _ID.search(clauses, at)
    if found is None:
        return None
    try:
        return parse_build(found[1].rstrip("."))
    except ValueError:
        return None


def is_higher(candidate: Build, best: Build | None) -> bool:
    """Whether one claim of a host's build stands above another one, whatever their CU lines."""
    if best is None:
        return True
    return [part or 0 for part in candidate] > [part or 0 for part in best]


def origin_of(line: ReceivedLine) -> Origin:
    """What wrote a line."""
    if line.protocol is None:
        return Origin.GATEWAY
    return Origin.SMTPSVC if line.protocol == _SMTPSVC else Origin.EXCHANGE


def detect(received: Sequence[str], helo: str, source_ip: str) -> Detection:
    """Which server connects, and the highest build that this server's own lines claim.

    Args:
        received: `Received` header values, topmost first, below the line that the receiving service added.
        helo: the name the client gave; may be empty.
        source_ip: the address it connected from; empty where only the lines are known, then theirs counts.
    """
    top = parse_received(received[0]) if received else None
    address = source_ip or (top.by_address if top else None)
    if top is not None and top.by_host is not None:
        server, identity = top.by_host[:255], Identity.STAMP
    elif helo.strip():
        server, identity = f"helo:{helo.strip().lower()}"[:255], Identity.HELO
    else:
        server, identity = f"{NAMELESS}{(address or '').lower()}"[:255], Identity.ADDRESS
    if top is None:
        return Detection(server, identity, Origin.NOTHING, None, None, None, None)
    origin = origin_of(top)
    if origin is not Origin.EXCHANGE:
        return Detection(server, identity, origin, None, top.protocol, 0, received[0][:MAX_LINE_CHARS])
    position, best = 0, top
    for index, raw in enumerate(received[:MAX_LINES]):
        line = top if index == 0 else parse_received(raw)
        if index and (top.by_host is None or line.by_host != top.by_host):
            continue
        if line.build is not None and is_higher(line.build, best.build):
            position, best = index, line
    evidence = received[position][:MAX_LINE_CHARS]
    return Detection(server, identity, Origin.EXCHANGE, best.build, best.protocol, position, evidence)
