"""Finds the connecting Exchange server and its build in a message's `Received` lines.

Exchange writes its build into the line it adds when it receives, so the server that hands the message over stands
as the `by` host of the topmost line, and that line carries its build. Everything in these lines is claimed by the
sender; a missing build is an ordinary result.

A host stamps a message again when it passes it on to itself. Such lines form its unbroken run, from the topmost line
down: each but the last says that the message came from the very host that wrote it. What stands below came with the
message, anybody may have written it, and it says nothing about the host.

Parsing is linear: each line is cut to `MAX_LINE_CHARS`, at most `MAX_LINES` lines are read, and a line is split at
keywords found by position, or taken by a pattern whose parts cannot begin with what ends them: none can backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.exchange.build import Build, Product, parse_build
from streams.domain.exchange.names import (
    ADDRESS,
    HELO,
    canonical_address,
    canonical_name,
    is_of_host,
)
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from streams.domain.validation import MalformedError

MAX_LINES: Final = 256
MAX_LINE_CHARS: Final = 8192
UNNAMED = ADDRESS
"""The server of a message that shows neither a host name nor an address."""

_OPENING = re.compile(r"[()\"<]")
_REST_OF_QUOTED = re.compile(r"(?:[^\"\\]|\\.)*+\"")
_COMMENT_MARK = "\0"
_FROM = re.compile(r" from (\S+)(?= |$)", re.IGNORECASE)
# Keywords share the blank between them: `from by by ex01` has the greeting `by`. No host is called as a clause is.
_BY = re.compile(r" by(?= (?!(?:by|with) ))", re.IGNORECASE)
_WITH = re.compile(r" with(?= )", re.IGNORECASE)
_ID = re.compile(r" id ([^\s();,]+)", re.IGNORECASE)
_HOST = re.compile(r"[^\s()<>,;\"]+")
# A word without a dot is a host name only where a clause may follow: `by EX01 with`, not `by Some Product with`.
_END_OF_HOST = re.compile(r" ?(?:[(\[;]|$|(?:with|via|id|for|over|using)(?: |$))", re.IGNORECASE)
# Words of a comment, and those that are an address or would be one, with what may stand around it.
_WORD = re.compile(r"[0-9A-Za-z.:%_-]++")
_ADDRESS = re.compile(
    r"(?:IPv6:)?([0-9]++(?:\.[0-9]*+)++|[0-9A-F]*+:[0-9A-F]*+:[0-9A-F:.]*+)(%[0-9A-Z._-]*+)?(?::[0-9]*+)?",
    re.IGNORECASE,
)
_ONLY_ADDRESS = re.compile(r"[0-9A-Fa-f.:]++(?:%[0-9A-Za-z._-]++)?")
_MAX_COMMENT_CHARS: Final = 64
"""Of a comment whose addresses are remembered."""
_SMTP = "Microsoft SMTP Server"
_MAPI = "mapi"
# What Exchange itself writes, all but always: printable tokens with single blanks between them, a host name with a dot,
# plain comments. In this form no other clause can be meant, so each part stands where it is looked for.
_TOKEN = r"(?!(?i:by|with|id) )[!#-'*-:=?-~]++"
_COMMENT = r"(?: \([ !#-'*-:<-~]*+\))?+"
_EXCHANGE_LINE = re.compile(
    rf"from ({_TOKEN})({_COMMENT}) by ((?:[A-Za-z0-9-]++\.)++[A-Za-z][A-Za-z0-9-]*+)({_COMMENT})"
    rf" with ({_SMTP}|{_MAPI}){_COMMENT}"
    r" id ([0-9]{1,9}(?:\.[0-9]{1,9}){3})(?: via (?:Frontend|Mailbox) Transport)?"
)
_PLAIN_DATE = re.compile(r"[0-9A-Za-z,:+ -]*+")
"""What stands behind the last semicolon of a line in that form, and holds none of its parts."""
_MAX_HEAD_CHARS: Final = 512
"""Of a line's text in front of its date, as it is remembered."""
_SMTPSVC = "Microsoft SMTPSVC"
_HTTP_DAV = "Microsoft Exchange Server HTTP-DAV"
_IMS = "Internet Mail Service"
_IMC = "Microsoft Exchange (IMC)"
_PROTOCOLS = {name.lower(): name for name in (_SMTP, _SMTPSVC, _MAPI, "ShadowRedundancy", _HTTP_DAV, _IMS)}
_PROTOCOL = re.compile(rf"(?:{'|'.join(_PROTOCOLS)})(?![^\s(,;])", re.IGNORECASE)
# Exchange 4.0 to 5.5 name themselves in the comment: `with SMTP (Microsoft Exchange Internet Mail Service Version 5.5`.
_OLD_PROTOCOL = re.compile(r"(?:E?SMTP|Microsoft Exchange)(?= |$)", re.IGNORECASE)
_OLD_COMMENT = re.compile(r"(?:Microsoft Exchange )?(Internet Mail (?:Service|Connector)|IMC)(?: |$)", re.IGNORECASE)
_WITHOUT_BUILD = {_SMTPSVC: "SMTPSVC", _HTTP_DAV: "HTTP_DAV", _IMS: "IMS", _IMC: "IMS"}

_DATE = re.compile(
    r"(?:[A-Za-z]{3}, ?)?([0-9]{1,2}) ([A-Za-z]{3}) ([0-9]{4}) ([0-9]{2}):([0-9]{2})(?::([0-9]{2}))? "
    r"(?:([+-])([0-9]{2})([0-9]{2})|GMT|UTC?|Z)",
    re.IGNORECASE,
)
_MAX_DATE_CHARS: Final = 128
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH_DAY = date(1970, 1, 1).toordinal()


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


class ReceivedLine(NamedTuple):
    """One unfolded line in parts.

    `by_host` is a canonical name, None where the line names none. `by_address` is the canonical address in its place or
    in the comment behind it, None where there is none. `protocol` is None where neither Exchange nor the SMTP service
    of Windows wrote the line. `is_from_itself` says that the message came from the `by` host itself, as its name and
    its address show: then the line below is of that host's unbroken run, if it is `by` the same host.
    """

    by_host: str | None
    by_address: str | None
    protocol: str | None
    build: Build | None
    is_from_itself: bool = False


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


class _Clauses(NamedTuple):
    """A line without its comments, and these with where they stood; None where the parentheses do not balance."""

    text: str
    comments: list[tuple[int, str]] | None


def unfold(line: str) -> str:
    """One line with single blanks; NUL bytes and other controls count as blanks, as a fold does."""
    text = " ".join(line[:MAX_LINE_CHARS].split())
    if text.isprintable():
        return text
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _clauses(text: str) -> _Clauses:
    """Split comments off an unfolded line; where they do not balance, they hide nothing.

    What is quoted or stands in angle brackets is an address or a name that others chose, and holds no clause either.
    """
    marked, comments = _marked(text, with_comments=True)
    if comments is None:
        return _Clauses(" " + " ".join(_marked(text, with_comments=False)[0].split()), None)
    parts: list[str] = []
    placed: list[tuple[int, str]] = []
    length = 1
    for index, piece in enumerate(marked.split(_COMMENT_MARK)):
        words = " ".join(piece.split())
        if words:
            length += len(words) + (1 if parts else 0)
            parts.append(words)
        if index < len(comments):
            placed.append((length, comments[index]))
    return _Clauses(" " + " ".join(parts), placed)


def _marked(text: str, with_comments: bool) -> tuple[str, list[str] | None]:
    """`text` with a mark for each comment and without what is quoted; None in place of unbalanced comments."""
    kept: list[str] = []
    comments: list[str] = []
    depth = begin = at = 0
    can_quote = can_bracket = True
    while (found := _OPENING.search(text, at)) is not None:
        start = found.start()
        at = start + 1
        sign = found[0]
        if sign in "()":
            if not with_comments:
                continue
            depth += 1 if sign == "(" else -1
            if depth < 0:
                return text, None
            if sign == "(" and depth == 1:
                kept.append(text[begin:start])
                begin = at
            elif depth == 0:
                comments.append(text[begin:start])
                kept.append(_COMMENT_MARK)
                begin = at
            continue
        end = -1
        if sign == '"' and can_quote and (not depth or text[start - 1 : start] == "<"):
            quoted = _REST_OF_QUOTED.match(text, at)
            can_quote = quoted is not None
            end = quoted.end() if quoted is not None else -1
        elif sign == "<" and not depth and can_bracket and text[at : at + 1] != '"':
            end = text.find(">", at) + 1
            can_bracket = end > 0
        if end <= 0:
            continue
        if not depth:
            kept.append(text[begin:start] + sign + ('"' if sign == '"' else ">"))
            begin = end
        at = end
    if depth:
        return text, None
    kept.append(text[begin:])
    return "".join(kept), comments


class LinesParsed:
    """How many lines of any other form than Exchange's own were parsed, each of which takes several times as long."""

    def __init__(self) -> None:
        self.of_other_form = 0


LINES_PARSED: Final = LinesParsed()


_BESIDE = re.compile(r" ?\(([^()]*)\)")


def parse_received(line: str) -> ReceivedLine:
    """Take one `Received` header value apart; a foreign line gives None in all that it lacks.

    What a client says of itself stands first in a line and the writer's own clauses stand last, so the last `by` and
    `with` count: a greeting cannot pose as the server.
    """
    at = line.rfind("; ")
    parsed: ReceivedLine | None = None
    if at > 0 and len(line) <= MAX_LINE_CHARS and _PLAIN_DATE.fullmatch(line, at + 2) is not None:
        head = line[:at]
        parsed = _common_line(head) if at > _MAX_HEAD_CHARS else _known_line(head)
    return parse_received_slow(line) if parsed is None else parsed


@lru_cache(4096)  # a host's lines repeat but for their dates
def _known_line(head: str) -> ReceivedLine | None:
    return _common_line(head)


def _common_line(head: str) -> ReceivedLine | None:
    """A line in Exchange's own form, of what stands in front of its date; None for any other form."""
    found = _EXCHANGE_LINE.fullmatch(head)
    if found is None:
        return None
    name, shown, host, stated, protocol, build = found.groups()
    by_host, by_address = host.lower(), _first_address(stated[2:-1])
    is_own = name.lower().strip(".") == by_host and _is_shown_by(by_address, [shown[2:-1]] if shown else [])
    return ReceivedLine(by_host, by_address, protocol, parse_build(build), is_own)


def parse_received_slow(line: str) -> ReceivedLine:
    """What `parse_received` gives, for a line of any form."""
    LINES_PARSED.of_other_form += 1
    text, comments = _clauses(unfold(line))
    # The date stands behind the last semicolon and can hold none of the parts.
    clauses = text.rsplit(";", 1)[0]
    # The first word behind `from` is a greeting, also where it reads as a keyword.
    greeting = _FROM.match(clauses)
    begin = greeting.end() if greeting is not None and _BY.search(clauses, greeting.end()) is not None else 0
    with_ = _last(_WITH, clauses, begin, len(clauses))
    by = _last(_BY, clauses, begin, with_.start() if with_ else len(clauses))
    by_host, by_address, is_own = None, None, False
    if by is not None:
        by_host, by_address, end = _host(clauses, by.end() + 1)
        if by_address is None and comments is not None:
            behind = [content for at, content in comments if at == end]
            by_address = next((address for content in behind if (address := _first_address(content))), None)
        elif by_address is None and (beside := _BESIDE.match(clauses, end)) is not None:
            # A greeting with a lone parenthesis hides no comment that the writer itself put behind its name.
            by_address = _first_address(beside[1])
        if greeting is not None and by_host is not None and greeting.end() == by.start() and comments is not None:
            between = [content for at, content in comments if greeting.end() <= at <= by.start()]
            is_own = canonical_name(greeting[1]) == by_host and _is_shown_by(by_address, between)
    # Every server that stamps a build says who it is: without a `by`, what reads as a protocol is a client's greeting.
    protocol, end = _protocol(clauses, with_ if by is not None else None, comments)
    if by_host == "pickup" and protocol is not None and text.lower().startswith(" from localhost by pickup with "):
        by_host, is_own = None, False
    build = None if protocol is None or protocol in _WITHOUT_BUILD else _build_after_id(clauses, end)
    return ReceivedLine(by_host, by_address, protocol, build, is_own)


def _protocol(
    clauses: str, with_: re.Match[str] | None, comments: list[tuple[int, str]] | None
) -> tuple[str | None, int]:
    """The protocol behind `with`, by its name in `Detection`, and where it ends."""
    if with_ is None:
        return None, 0
    begin = with_.end() + 1
    found = _PROTOCOL.match(clauses, begin)
    if found is not None:
        return _PROTOCOLS[found[0].lower()], found.end()
    found = _OLD_PROTOCOL.match(clauses, begin)
    for at, content in comments or ():
        old = _OLD_COMMENT.match(content) if found is not None and at == found.end() else None
        if old is not None:
            return _IMS if old[1].lower().endswith("service") else _IMC, at
    return None, 0


def _last(keyword: re.Pattern[str], text: str, begin: int, end: int) -> re.Match[str] | None:
    last = None
    # What follows a keyword decides too, so the text must not end with the part that is searched.
    for found in keyword.finditer(text, begin):
        if found.end() > end:
            break
        last = found
    return last


def _host(clauses: str, at: int) -> tuple[str | None, str | None, int]:
    """The host name and the address at `at`, and where they end; a bare or bracketed address is no name."""
    found = _HOST.match(clauses, at)
    if found is None:
        return None, None, at
    token, end = found[0], found.end()
    if token.startswith("["):
        return None, canonical_address(_without_prefix(token[1:].partition("]")[0])), end
    if token.count(":") > 1:
        return None, canonical_address(_without_prefix(token)), end
    # A port or a bracketed address may be glued to the name.
    name, _, glued = token.partition("[")
    name = name.partition(":")[0]
    address = canonical_address(_without_prefix(glued.partition("]")[0])) if glued else canonical_address(name)
    if "." not in name.strip(".") and not _END_OF_HOST.match(clauses, end):
        return None, None, end
    return canonical_name(name), address, end


def _without_prefix(text: str) -> str:
    return text[5:] if text[:5].lower() == "ipv6:" else text


def _addresses(comment: str) -> tuple[str, ...] | None:
    """The canonical addresses in a comment; None where a word that would be one is none."""
    # All but always it is one address, in brackets or not.
    only = comment[1:-1] if comment.startswith("[") and comment.endswith("]") else comment
    if _ONLY_ADDRESS.fullmatch(only) is not None and (address := canonical_address(only)) is not None:
        return (address,)
    return _addresses_in(comment) if len(comment) <= _MAX_COMMENT_CHARS else _read_addresses(comment)


@lru_cache(4096)  # of most hosts there is one comment
def _addresses_in(comment: str) -> tuple[str, ...] | None:
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


def _first_address(comment: str) -> str | None:
    addresses = _addresses(comment)
    return addresses[0] if addresses else None


def _is_shown_by(by_address: str | None, comments: list[str]) -> bool:
    """Whether the `by` host itself can have shown all addresses in the comments behind its name.

    Comments without any readable address say nothing that could be checked, so they do not pass for it.
    """
    if not comments:
        return True
    shown: list[str] = []
    for comment in comments:
        addresses = _addresses(comment)
        if addresses is None:
            return False
        shown += addresses
    return bool(shown) and all(is_of_host(address, by_address) for address in shown)


def _build_after_id(clauses: str, at: int) -> Build | None:
    found = _ID.search(clauses, at)
    if found is None:
        return None
    try:
        return parse_build(found[1].rstrip("."))
    except ValueError:
        return None


def date_of(line: str) -> int | None:
    """The date of a `Received` line in UTC milliseconds; None where it has none, or not one that mail servers write."""
    at = line.rfind(";", 0, MAX_LINE_CHARS)
    text = line[at:MAX_LINE_CHARS] if at >= 0 else ""
    # Without what begins or ends a comment or a quotation, the date is what stands there.
    if _OPENING.search(text) is not None or ">" in text:
        text = _clauses(unfold(line)).text
        text = text[text.rfind(";") :] if ";" in text else ""
    return _date_in(text) if len(text) <= _MAX_DATE_CHARS else None


@lru_cache(1024)  # of many lines of one second there is one date
def _date_in(text: str) -> int | None:
    text = unfold(text)
    found = _DATE.fullmatch(text[text.rfind(";") + 1 :].strip()) if ";" in text else None
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    try:
        days = date(int(year), _MONTHS.index(month.lower()) + 1, int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60 or int(zone_minutes or 0) > 59:
        return None
    zone = int(zone_hours or 0) * HOUR_MS + int(zone_minutes or 0) * MINUTE_MS
    at = days * DAY_MS + int(hour) * HOUR_MS + int(minute) * MINUTE_MS + int(second or 0) * SECOND_MS
    return at + zone if sign == "-" else at - zone


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
    if line.protocol is None:
        return Origin.GATEWAY
    return Origin(_WITHOUT_BUILD.get(line.protocol, "EXCHANGE"))


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
        raise MalformedError(f"server: {server[:80]!r}: must be at most {MAX_SERVER_CHARS} characters")
    return server, identity


def detect(received: Sequence[str], helo: str, source_ip: str) -> Detection:
    """Which server connects, and the highest build of its topmost line's CU line in its unbroken run.

    Args:
        received: `Received` header values, topmost first, below the line that the receiving service added.
        helo: the name the client gave; may be empty.
        source_ip: the address it connected from; empty where only the lines are known, then theirs counts.

    Raises:
        MalformedError: the server's name is too long.
    """
    top = parse_received(received[0]) if received else None
    server, identity = _server_of(top, helo, source_ip or (top.by_address if top else None) or "")
    if top is None:
        return Detection(server, identity, Origin.NONE, None, None, None, None)
    origin, dated_at = origin_of(top), date_of(received[0])
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
