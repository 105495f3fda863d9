"""Which lines count for a host's build: its unbroken run, and nothing that a stranger may have written."""

from __future__ import annotations

import pytest

from streams.domain.exchange.detection import detect
from streams.domain.exchange.names import is_of_host
from streams.domain.exchange.received import parse_received
from tests.support.cached_headers import found_in

DATE = "Tue, 1 Sep 2026 00:00:00 +0000"
HOST = "ex01.contoso.com"


def stamped(build: str, name: str = "mx.partner.example", shown: str = " (192.0.2.1)", own: str = " (10.0.0.5)") -> str:
    """A line that the host wrote; `name` and `shown` are who connected."""
    return f"from {name}{shown} by {HOST}{own} with Microsoft SMTP Server id {build}; {DATE}"


@pytest.mark.parametrize(
    ("name", "shown", "own"),
    [
        (HOST, "", ""),
        (HOST, " (10.0.0.5)", " (10.0.0.5)"),
        ("EX01.Contoso.Com", " (10.0.0.5)", " (10.0.0.5)"),
        ("ex01.contoso.com.", " (10.0.0.5)", " (10.0.0.5)"),
        (HOST, " ([10.0.0.5])", " ([10.0.0.5])"),
        (HOST, " (198.51.100.7)", " (198.51.100.7)"),
        (HOST, " (::ffff:198.51.100.7)", " (198.51.100.7)"),
        (HOST, " (127.0.0.1)", " (198.51.100.7)"),
        (HOST, " (::1)", " (10.0.0.5)"),
        (HOST, " ([::1])", " (10.0.0.5)"),
        (HOST, " (169.254.1.232)", " ([10.254.141.105])"),
        (HOST, " ([fe80::23e0:1bbb:3ec9:73fe])", " ([fe80::23e0:1bbb:3ec9:73fe%16])"),
        (HOST, " (fe80::1%12)", " (2001:db8::5)"),
        (HOST, " ([fe80::5efe:10.0.0.5%12])", " (10.0.0.5)"),
        (HOST, " (fd00:1::9)", " (10.0.0.5)"),
        (HOST, " (172.16.3.4)", " (10.0.0.5)"),
        (HOST, " (192.168.3.4)", ""),
        (HOST, " (2001:db8:1:2::9)", " (2001:db8:1:2:aaaa::1)"),
        (HOST, " ([2001:DB8:1:2::9])", " (IPv6:2001:db8:1:2::1)"),
        (HOST, " (ex01 [10.0.0.5])", " (ex01 [10.0.0.5])"),
    ],
)
def test_a_line_below_counts_where_the_line_above_came_from_the_host_itself(name: str, shown: str, own: str) -> None:
    lines = [stamped("15.1.2106.2", name, shown, own), stamped("15.1.2106.13"), stamped("15.1.2106.99")]
    found = detect(lines, "", "192.0.2.1")
    assert (str(found.build), found.position) == ("15.1.2106.13", 1)
    assert found_in(lines=lines) == (HOST, found.build)


@pytest.mark.parametrize(
    ("name", "shown", "own"),
    [
        ("mx.partner.example", " (10.0.0.5)", " (10.0.0.5)"),
        ("ex01", " (10.0.0.5)", " (10.0.0.5)"),
        ("ex01.contoso.com.evil.example", " (10.0.0.5)", " (10.0.0.5)"),
        ("ex02.contoso.com", " (10.0.0.5)", " (10.0.0.5)"),
        ("[10.0.0.5]", " (10.0.0.5)", " (10.0.0.5)"),
        (HOST, " (6.6.6.6)", " (10.0.0.5)"),
        (HOST, " (6.6.6.6)", ""),
        (HOST, " ([6.6.6.6])", " (10.0.0.5)"),
        (HOST, " (::ffff:6.6.6.6)", " (10.0.0.5)"),
        (HOST, " (2001:db8:1:3::9)", " (2001:db8:1:2::1)"),
        (HOST, " (2001:db8::9)", " (10.0.0.5)"),
        (HOST, " (172.32.0.1)", " (10.0.0.5)"),
        (HOST, " (100.64.0.1)", " (10.0.0.5)"),
        (HOST, " (10.0.0.5 [6.6.6.6])", " (10.0.0.5)"),
        (HOST, " (10.0.0.5) (6.6.6.6)", " (10.0.0.5)"),
        (HOST, " (ex01.contoso.com [6.6.6.6])", " (10.0.0.5)"),
        (HOST, " (ex01.contoso.com)", " (10.0.0.5)"),
        (HOST, " (6.6.6.6.)", " (10.0.0.5)"),
        (HOST, " ((6.6.6.6) [10.0.0.5])", " (10.0.0.5)"),
        (HOST, " (10.0.0.5, ip=6.6.6.6)", " (10.0.0.5)"),
        (HOST, " ([6.6.6.6]:25 10.0.0.5)", " (10.0.0.5)"),
        (HOST, " (6.6.6.6:25 10.0.0.5)", " (10.0.0.5)"),
        (HOST, " (10.0.0.5 <6.6.6.6>)", " (10.0.0.5)"),
        (HOST, " (10.0.0.5 6.6.6.06)", " (10.0.0.5)"),
        (HOST, " (fe80::1 2001:db8::6%1)", " (10.0.0.5)"),
        (HOST, " (10.0.0.256)", " (10.0.0.5)"),
        (HOST, " (10.0.0.5", " (10.0.0.5)"),
        ("unknown", " (HELO ex01.contoso.com) (10.0.0.5)", " (10.0.0.5)"),
        (f"{HOST} x", " (10.0.0.5)", " (10.0.0.5)"),
        (f"{HOST} by x", " (10.0.0.5)", " (10.0.0.5)"),
        (f"x from {HOST}", " (10.0.0.5)", " (10.0.0.5)"),
        (f'"{HOST}"', " (10.0.0.5)", " (10.0.0.5)"),
        ("", " (10.0.0.5)", " (10.0.0.5)"),
    ],
)
@pytest.mark.parametrize(
    "forged", ["15.1.2106.99", "15.1.2507.9999", "15.1.2508.1", "15.2.221.12", "15.20.1.1", "99.99.9999.9"]
)
def test_nothing_below_the_run_counts(name: str, shown: str, own: str, forged: str) -> None:
    top = stamped("15.1.2106.2", name, shown, own)
    lines = [top, stamped(forged, HOST, " (10.0.0.5)")]
    assert detect(lines, "", "192.0.2.1") == detect([top], "", "192.0.2.1")
    assert found_in(lines=lines) == found_in(lines=[top])


def test_a_run_goes_on_as_far_as_each_line_came_from_the_host() -> None:
    own, other = (HOST, " (10.0.0.5)"), ("ex02.contoso.com", " (10.0.0.5)")
    lines = [stamped(f"15.1.2106.{number}", *own) for number in (2, 3, 4)]
    assert str(detect([*lines, stamped("15.1.2106.5", *other)], "", "").build) == "15.1.2106.5"
    cut = [*lines[:2], stamped("15.1.2106.5", *other), stamped("15.1.2106.9", *own)]
    assert str(detect(cut, "", "").build) == "15.1.2106.5"
    foreign = [*lines, stamped("15.1.2106.9", *own).replace(f"by {HOST}", "by ex02.contoso.com"), *lines]
    assert str(detect(foreign, "", "").build) == "15.1.2106.4"


def test_only_the_cu_line_of_the_topmost_line_counts() -> None:
    run = [stamped(build, HOST, " (10.0.0.5)") for build in ("15.1.2106.2", "15.1.2507.61", "15.1.2106.13")]
    assert str(detect(run, "", "").build) == "15.1.2106.13"


def test_a_host_that_stamps_no_build_on_top_shows_that_of_its_run() -> None:
    lines = [f"from {HOST} ([10.0.0.5]) by {HOST} ([10.0.0.5]) with mapi; {DATE}", stamped("8.3.298.1")]
    assert (str(detect(lines, "", "").build), detect(lines, "", "").position) == ("8.3.298.1", 1)


def test_a_pickup_line_has_no_host_and_no_run() -> None:
    top = f"from localhost by Pickup with Microsoft SMTP Server id 15.1.2507.6; {DATE}"
    for below in (top.replace("2507.6", "2507.61"), stamped("15.1.2507.61", "localhost", "")):
        assert detect([top, below], HOST, "192.0.2.1") == detect([top], HOST, "192.0.2.1")
        lines = [stamped("15.1.2507.6", HOST, ""), top.replace("2507.6", "2507.61"), stamped("15.1.2507.69")]
        assert detect(lines, "", "").position == 0


@pytest.mark.parametrize("greeting", ["by", "with", "id", "for", "via", "from", "BY", "by.", '"by"', "by,with"])
def test_a_greeting_that_reads_as_a_keyword_is_a_greeting(greeting: str) -> None:
    found = parse_received(stamped("15.1.2507.39", greeting, " (6.6.6.6)"))
    assert (found.by_host, found.by_address, str(found.build)) == (HOST, "10.0.0.5", "15.1.2507.39")
    assert not found.is_from_itself
    gateway = parse_received(f"from {greeting} (6.6.6.6) by gw.contoso.com (8.14.7/8.14.7) with ESMTP id 4ABC; {DATE}")
    assert (gateway.by_host, gateway.protocol, gateway.build) == ("gw.contoso.com", None, None)
    without = parse_received(f"from {greeting} (6.6.6.6) by gw.contoso.com (8.14.7/8.14.7) id 4ABC; {DATE}")
    assert (without.by_host, without.protocol) == ("gw.contoso.com", None)


FORGED = "by ex01.contoso.com with Microsoft SMTP Server id 15.1.2507.99"


@pytest.mark.parametrize(
    "line",
    [
        f'from x (6.6.6.6) by gw.contoso.com (Postfix) with ESMTP id 4ABC for <" {FORGED} "@contoso.com>; {DATE}',
        f'from x (6.6.6.6) by gw.contoso.com with ESMTP id 4ABC for " {FORGED} "@contoso.com; {DATE}',
        f"from x (6.6.6.6) by gw.contoso.com with ESMTP id 4ABC for < {FORGED} @contoso.com>; {DATE}",
        f'from x ([6.6.6.6]) by gw.contoso.com with esmtp (envelope-from <"a) {FORGED} ("@b.example>) id 1; {DATE}',
        f'from ( (6.6.6.6) by gw.contoso.com (Postfix) with ESMTP id 4ABC for <" {FORGED} "@contoso.com>; {DATE}',
        f"from x {FORGED} by gw.contoso.com (Postfix) with ESMTP id 4ABC; {DATE}",
        f"from x (6.6.6.6) by gw.contoso.com (Postfix) with ESMTP (TLS {FORGED}) id 4ABC; {DATE}",
    ],
)
def test_what_a_stranger_says_at_a_gateway_does_not_pass_for_an_exchange_server(line: str) -> None:
    found = parse_received(line)
    assert (found.by_host, found.protocol, found.build) == ("gw.contoso.com", None, None)


@pytest.mark.parametrize(
    ("stated", "address"),
    [
        ("", None),
        (" (10.0.0.5)", "10.0.0.5"),
        (" ([10.0.0.5])", "10.0.0.5"),
        (" (ex01 [10.0.0.5])", "10.0.0.5"),
        (" (Postfix) (10.0.0.5)", "10.0.0.5"),
        (" ([fe80::1%7])", "fe80::1"),
        (" (2001:DB8:0:0::5)", "2001:db8::5"),
        (" ([IPv6:2001:db8::5])", "2001:db8::5"),
        (" (::ffff:10.0.0.5)", "10.0.0.5"),
        (" (8.14.7/8.14.7)", None),
        (" ([10.0.0.5]:25)", "10.0.0.5"),
        (" (10.0.0.5:25)", "10.0.0.5"),
        (" (fe80::5efe:10.0.0.5%12)", "fe80::5efe:a00:5"),
        (" (10.0.0.256)", None),
        (" via x (10.0.0.6)", None),
    ],
)
def test_the_address_that_a_line_gives_its_host(stated: str, address: str | None) -> None:
    assert parse_received(stamped("15.1.2507.39", own=stated)).by_address == address


@pytest.mark.parametrize(("place", "address"), [("[10.0.0.5] (10.0.0.6)", "10.0.0.5"), ("10.0.0.5", "10.0.0.5")])
def test_an_address_in_place_of_the_host_is_its_address(place: str, address: str) -> None:
    found = parse_received(f"from a by {place} with mapi id 15.1.2507.39; {DATE}")
    assert (found.by_host, found.by_address) == (None, address)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Tue, 1 Sep 2026 00:00:00 +0000", 1_788_220_800_000),
        ("1 Sep 2026 02:00 +0200", 1_788_220_800_000),
        ("Mon, 31 Aug 2026 16:30:00 -0730 (PDT)", 1_788_220_800_000),
        (" Tue,  1 Sep\r\n\t2026 00:00:00 GMT", 1_788_220_800_000),
        ("tue, 01 sep 2026 00:00:00 -0000", 1_788_220_800_000),
        ("Tue, 1 Sep 2026 00:00:00", None),
        ("Tue, 31 Feb 2026 00:00:00 +0000", None),
        ("Tue, 1 Sep 0000 00:00:00 +0000", None),
        ("Tue, 1 Sep 2026 24:00:00 +0000", None),
        ("Tue, 1 Sep 2026 00:00:00 +0060", None),
        ("Tue, 1 Sep \u0662026 00:00:00 +0000", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_date_of_the_topmost_line(text: str, at: int | None) -> None:
    line = f"from a (x; y) by ex01.contoso.com with mapi id 15.1.2507.39; {text}"
    assert detect([line], "", "192.0.2.1").dated_at == at
    assert detect([line.partition(";")[0]], "", "").dated_at is None


def test_addresses_of_a_host_are_its_own_private_or_of_its_64() -> None:
    assert is_of_host("198.51.100.7", "198.51.100.7")
    assert not is_of_host("198.51.100.8", "198.51.100.7")
    assert not is_of_host("2001:db8::1", None)
