"""The line kernel against the pattern that it stands in for: the same parts, or none."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.feed import Feed, connections
from streams.domain.exchange.line_kernel import read_common_line
from streams.domain.exchange.received import parse_by_pattern
from tests.support.changing_policies import CHANGE

NAMES = ("mx1.example.com", "MX1.Example.com", ".mx1.example.com.", "mx1", "by", "id.", "a..b", "mx-1.example.9com")
HOSTS = (
    "mx1.example.com",
    "MX1.EXAMPLE.com",
    "mx1.example.com.",
    ".example.com",
    "mx1..com",
    "mx1.9com",
    "mx1",
    "-.-a",
)
ADDRESSES = (
    " (192.0.2.1)",
    " ([192.0.2.1])",
    " ([10.0.0.1])",
    " (127.0.0.1)",
    " (172.16.0.1)",
    " (0.0.0.0)",
    " (255.255.255.255)",
    " (256.0.2.1)",
    " (192.0.02.1)",
    " (00.0.2.1)",
    " (192.0.2.1",
    " ([192.0.2.1)",
    " (192.0.2.1])",
    " (192.0.2)",
    " (192.0.2.1.1)",
    " (192.0.2.1:25)",
    " (fe80::1%4)",
    " ([2001:db8::1])",
    " ()",
    "",
)
PROTOCOLS = ("Microsoft SMTP Server", "mapi", "MAPI", "Microsoft SMTP Server ", "SMTP", "mapis")
COMMENTS = ("", " (TLS)", " (version=TLS1_2, cipher=x)", " ()", " (a(b)", " (a;b)", ' ("a")', " (a", " (\x7f)")
BUILDS = (
    "15.1.2507.39",
    "15.01.2507.039",
    "15.1.2507",
    "15.1.2507.39.1",
    "1234567890.1.2.3",
    "15.1..39",
    "999999999.1.2.3",
)
ENDS = (
    "",
    " via Frontend Transport",
    " via Mailbox Transport",
    " via Frontend Transport via Mailbox Transport",
    " via Other Transport",
    " for <a@b.example>",
)
DATES = (
    "; Mon, 21 Sep 2026 14:02:03 +0000",
    "; Mon, 21 Sep 2026 14:02:03 +0000 (UTC)",
    ";Mon, 21 Sep 2026",
    "; ",
    ";",
    "",
    "; a; b",
    "; ;b",
)
EACH = (NAMES, ADDRESSES, HOSTS, ADDRESSES, PROTOCOLS, COMMENTS, BUILDS, ENDS, DATES)
CHARS = ' ;:.()[]"<>,+-aZ09\t\n\x00\x7f\u00e9\u0130\U0001f600'


def line_of(chance: random.Random) -> str:
    """A line in the common form, of which each part may have another one."""
    parts = [chance.choice(each) if chance.random() < 0.2 else each[0] for each in EACH]
    name, shown, host, stated, protocol, comment, build, end, date = parts
    return f"from {name}{shown} by {host}{stated} with {protocol}{comment} id {build}{end}{date}"


def damaged(chance: random.Random, line: str) -> str:
    at, end = sorted(chance.randrange(len(line) + 1) for _ in range(2))
    return chance.choice(
        [
            line[:at] + chance.choice(CHARS) + line[at:],
            line[:at] + chance.choice(CHARS) + line[at + 1 :],
            line[:at] + line[end:],
            line[:at] + line[at:end] + line[at:end] + line[end:],
            line[:at] + chance.choice(CHARS) * chance.choice((3, 400, 1_100)) + line[at:],
            line.upper(),
        ]
    )


@settings(max_examples=3_000, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_it_reads_what_the_pattern_reads_or_nothing(seed: int) -> None:
    chance = random.Random(seed)
    line = line_of(chance)
    for _ in range(chance.randrange(3)):
        line = damaged(chance, line)
    assert read_common_line(line) in (None, parse_by_pattern(line))


def test_each_part_in_each_form() -> None:
    for place, each in enumerate(EACH):
        for form in each:
            parts = [forms[0] for forms in EACH]
            parts[place] = form
            name, shown, host, stated, protocol, comment, build, end, date = parts
            line = f"from {name}{shown} by {host}{stated} with {protocol}{comment} id {build}{end}{date}"
            assert read_common_line(line) in (None, parse_by_pattern(line)), line


def test_it_reads_the_topmost_lines_of_exchange() -> None:
    lines = [row["received"][0] for build, row in connections(Feed(500, 50, CHANGE)) if build is not None]
    read = [read_common_line(line) for line in lines]
    assert read == [parse_by_pattern(line) for line in lines]
    assert None not in read
