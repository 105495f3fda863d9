"""Parses one `Received` line: in Exchange's own form by one pattern, otherwise clause by clause.

Where the line kernel is built, it reads the plain ones of that form.

Parsing is linear: each line is cut to `MAX_LINE_CHARS`, and a line is split at keywords found by position, or taken by
a pattern whose parts cannot begin with what ends them: none can backtrack.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from streams.domain.exchange.addresses import first_address, is_shown_by
from streams.domain.exchange.any_form import ReceivedLine, parse_received_slow
from streams.domain.exchange.build import parse_build
from streams.domain.exchange.clauses import MAX_LINE_CHARS, unfold
from streams.domain.exchange.protocols import MAPI, SMTP

try:
    from streams.domain.exchange.line_kernel import read_common_line
except ImportError:  # not built: every line is read here
    HAS_KERNEL = False
else:
    HAS_KERNEL = True

# What Exchange itself writes, all but always: printable tokens with single blanks between them, a host name with a dot,
# plain comments. In this form no other clause can be meant, so each part stands where it is looked for.
_TOKEN = r"(?!(?i:by|with|id) )[!#-'*-:=?-~]++"
_COMMENT = r"(?: \([ !#-'*-:<-~]*+\))?+"
_EXCHANGE_LINE = re.compile(
    rf"from ({_TOKEN})({_COMMENT}) by ((?:[A-Za-z0-9-]++\.)++[A-Za-z][A-Za-z0-9-]*+)({_COMMENT})"
    rf" with ({SMTP}|{MAPI}){_COMMENT}"
    r" id ([0-9]{1,9}(?:\.[0-9]{1,9}){3})(?: via (?:Frontend|Mailbox) Transport)?"
)
_PLAIN_DATE = re.compile(r"[0-9A-Za-z,:+ -]*+")
"""What stands behind the last semicolon of a line in that form, and holds none of its parts."""
_MAX_HEAD_CHARS: Final = 512
"""Of a line's text in front of its date, as it is remembered."""


def parse_received(line: str) -> ReceivedLine:
    """Parse one `Received` header value; what a line of another product lacks is None.

    What a client says of itself stands first in a line and the writer's own clauses stand last, so the last `by` and
    `with` count: a greeting cannot pose as the server.
    """
    parsed = read_common_line(line) if HAS_KERNEL else None
    return parse_by_pattern(line) if parsed is None else parsed


def parse_by_pattern(line: str) -> ReceivedLine:
    """`parse_received` without the kernel."""
    if "\n" in line and len(line) <= MAX_LINE_CHARS:
        line = unfold(line)  # as it comes from an MTA; what it says is the same
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
    by_host, by_address = host.lower(), first_address(stated[2:-1])
    is_own = name.lower().strip(".") == by_host and is_shown_by(by_address, [shown[2:-1]] if shown else [])
    # One text of it for all lines: many are remembered.
    return ReceivedLine(by_host, by_address, SMTP if protocol == SMTP else MAPI, parse_build(build), is_own)
