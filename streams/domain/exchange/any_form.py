"""Parses a `Received` line of any form: clause by clause, without its comments."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from streams.domain.exchange.addresses import first_address, is_shown_by, without_prefix
from streams.domain.exchange.build import Build, parse_build
from streams.domain.exchange.clauses import split_comments, unfold
from streams.domain.exchange.names import canonical_address, canonical_name
from streams.domain.exchange.protocols import KEYWORDS, WITHOUT_BUILD, protocol_at

_FROM = re.compile(r" from (\S+)(?= |$)", KEYWORDS)
# Keywords share the blank between them: `from by by ex01` has the greeting `by`. No host is called as a clause is.
_BY = re.compile(r" by(?= (?!(?:by|with) ))", KEYWORDS)
_WITH = re.compile(r" with(?= )", KEYWORDS)
_ID = re.compile(r" id ([^\s();,]+)", KEYWORDS)
_HOST = re.compile(r"[^\s()<>,;\"]+")
# A word without a dot is a host name only where a clause may follow: `by EX01 with`, not `by Some Product with`.
_END_OF_HOST = re.compile(r" ?(?:[(\[;]|$|(?:with|via|id|for|over|using)(?: |$))", KEYWORDS)
# A plain comment right behind a host name.
_BESIDE = re.compile(r" ?\(([^()]*)\)")


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


class LinesParsed:
    """How many lines of any other form than Exchange's own were parsed, each of which takes several times as long."""

    def __init__(self) -> None:
        self.of_other_form = 0


LINES_PARSED: Final = LinesParsed()


def parse_received_slow(line: str) -> ReceivedLine:
    """Parse a `Received` header value of any form; slower than `parse_received`, with the same result."""
    LINES_PARSED.of_other_form += 1
    text, comments = split_comments(unfold(line))
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
            by_address = next((address for content in behind if (address := first_address(content))), None)
        elif by_address is None and (beside := _BESIDE.match(clauses, end)) is not None:
            # A greeting with a lone parenthesis hides no comment that the writer itself put behind its name.
            by_address = first_address(beside[1])
        if greeting is not None and by_host is not None and greeting.end() == by.start() and comments is not None:
            between = [content for at, content in comments if greeting.end() <= at <= by.start()]
            is_own = canonical_name(greeting[1]) == by_host and is_shown_by(by_address, between)
    # Every server that stamps a build says who it is: without a `by`, what reads as a protocol is a client's greeting.
    protocol, end = protocol_at(clauses, with_ if by is not None else None, comments)
    if by_host == "pickup" and protocol is not None and text.lower().startswith(" from localhost by pickup with "):
        by_host, is_own = None, False
    build = None if protocol is None or protocol in WITHOUT_BUILD else _build_after_id(clauses, end)
    return ReceivedLine(by_host, by_address, protocol, build, is_own)


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
        return None, canonical_address(without_prefix(token[1:].partition("]")[0])), end
    if token.count(":") > 1:
        return None, canonical_address(without_prefix(token)), end
    # A port or a bracketed address may be glued to the name.
    name, _, glued = token.partition("[")
    name = name.partition(":")[0]
    address = canonical_address(without_prefix(glued.partition("]")[0])) if glued else canonical_address(name)
    if "." not in name.strip(".") and not _END_OF_HOST.match(clauses, end):
        return None, None, end
    return canonical_name(name), address, end


def _build_after_id(clauses: str, at: int) -> Build | None:
    found = _ID.search(clauses, at)
    if found is None:
        return None
    try:
        return parse_build(found[1].rstrip("."))
    except ValueError:
        return None
