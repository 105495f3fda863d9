"""One spelling for each server, wherever its name comes in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.cli.main import main
from streams.domain.exchange.detection import Origin, check_server, detect
from streams.domain.exchange.names import canonical_address, canonical_name, canonical_server
from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role, subject_of
from streams.domain.time import DAY_MS
from streams.domain.validation import MalformedError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation

CASES = Path(__file__).parents[1] / "data" / "cases"
POLICY = "microsoft-2026-09"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("EX01.Contoso.Com", "ex01.contoso.com"),
        ("ex01.contoso.com.", "ex01.contoso.com"),
        (" ex01.contoso.com\r\n", "ex01.contoso.com"),
        ("EX01", "ex01"),
        ("ex_01.contoso.com", "ex_01.contoso.com"),
        ("ex01.corp2016.2016", "ex01.corp2016.2016"),
        ("localhost", "localhost"),
        ("exch\u00e0nge.contoso.com", "xn--exchnge-cwa.contoso.com"),
        ("EXCH\u00c0NGE.contoso.com", "xn--exchnge-cwa.contoso.com"),
        ("excha\u0300nge.contoso.com", "xn--exchnge-cwa.contoso.com"),
        ("XN--EXCHNGE-CWA.contoso.com", "xn--exchnge-cwa.contoso.com"),
        ("\uff45\uff5801\uff0econtoso\u3002com", "ex01.contoso.com"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("\u043f\u0440\u0438\u043c\u0435\u0440.example", "xn--e1afmkfd.example"),
        ("", None),
        ("   ", None),
        (".", None),
        ("\\", None),
        ("-", None),
        ("EX 01", None),
        ("ex\t01", None),
        ("ex\x0001", None),
        ("ex\x1b[2J01", None),
        ("ex\u202e01", None),
        ("ex\u00a001", None),
        ("192.0.2.10", None),
        ("192.0.2.10.", None),
        ("192.0.2.010", None),
        ("[192.0.2.10]", None),
        ("[IPv6:2001:db8::1]", None),
        ("2001:db8::1", None),
        ("mail.contoso.com:25", None),
    ],
)
def test_a_host_name_has_one_spelling(text: str, name: str | None) -> None:
    assert canonical_name(text) == name
    if name is not None:
        assert canonical_name(name) == name


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:0db8::0001", "2001:db8::1"),
        ("fe80::1%7", "fe80::1"),
        ("FE80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1%3", "192.0.2.1"),
        ("fe80::1%", None),
        ("192.0.2.010", None),
        ("192.0.2.1:25", None),
        ("192.0.2", None),
        ("192.0.2.256", None),
        ("[2001:db8::1]", None),
        (" 192.0.2.1", None),
        ("192.0.2.1\n", None),
        ("\u0661.0.2.1", None),
        ("mail.contoso.com", None),
        ("", None),
        ("fe80::1%" + "x" * 100_000, None),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str | None) -> None:
    assert canonical_address(text) == address


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ("EX01.Contoso.com.", "ex01.contoso.com"),
        (" exch\u00e0nge.contoso.com ", "xn--exchnge-cwa.contoso.com"),
        ("HELO:EX01.", "helo:ex01"),
        ("ip:::ffff:192.0.2.1", "ip:192.0.2.1"),
        ("IP:2001:DB8:0::1", "ip:2001:db8::1"),
        ("Some Thing", "some thing"),
        ("helo:[192.0.2.1]", "helo:[192.0.2.1]"),
        ("ip:", "ip:"),
    ],
)
def test_a_command_names_a_server_in_any_spelling(given: str, server: str) -> None:
    command = AdminCommand("c", "contoso", 1, "a", Role.OPERATOR, CommandKind.EXCEPTION_REVOKE, server=given)
    assert subject_of(command) == canonical_server(given) == server


def simulated(tmp_path: Path, feed: Path) -> dict[str, list[dict[str, Any]]]:
    """The result files of `tes simulate`."""
    assert main(["simulate", "--feed", str(feed), "--policy", POLICY, "--out", str(tmp_path)]) == 0
    return {
        path.stem: [orjson.loads(line) for line in path.read_bytes().splitlines()] for path in tmp_path.glob("*.jsonl")
    }


@pytest.mark.parametrize(
    ("feed", "servers", "refused"),
    [
        ("s4-pickup-helo-trailing-dot", ["helo:ex01.contoso.com"], 0),
        ("s20-mapped-ipv4-two-servers", ["ip:192.0.2.10"], 0),
        ("s21-ipv6-notation-two-servers", ["ip:2001:db8::10"], 0),
        ("s8-source-ip-notations", ["ip:192.0.2.10", "ip:2001:db8::1", "ip:fe80::1"], 3),
        (
            "s7-helo-forms",
            [
                *("helo:ex01", "helo:ex_01.contoso.com", "helo:localhost", "helo:mail.contoso.com"),
                *("helo:xn--exchnge-9wa.contoso.com", "helo:xn--exchnge-cwa.contoso.com", "ip:192.0.2.10"),
            ],
            1,
        ),
    ],
)
def test_a_feed_that_names_servers_in_several_spellings(
    feed: str, servers: list[str], refused: int, tmp_path: Path
) -> None:
    results = simulated(tmp_path, CASES / "feeds" / f"{feed}.jsonl")
    assert [row["server"] for row in results["servers"]] == servers
    assert len(results["dead_letters"]) == refused
    assert {row["source_ip"] for row in results["servers"]} <= {"192.0.2.10", "2001:db8::1", "2001:db8::10", "fe80::1"}


def event(**fields: Any) -> dict[str, Any]:
    """An event of a feed."""
    return {
        "event_id": "e1",
        "observed_at": "2026-09-02T00:00:00Z",
        "tenant_id": "contoso",
        "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1",
        "received": [],
    } | fields


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"source_ip": "somewhere"}, "source_ip: 'somewhere': must be an IPv4 or IPv6 address"),
        ({"source_ip": "192.0.2.1:25"}, "source_ip: '192.0.2.1:25': must be an IPv4 or IPv6 address"),
        ({"source_ip": ""}, "source_ip: '': must be an IPv4 or IPv6 address"),
        ({"helo": "x" * 251}, f"server: 'helo:{'x' * 75}': must be at most 255 characters"),
        ({"helo": "\u00e9" * 250}, "server: "),
        ({"helo": "\u00e9" * 100_000}, "server: "),
        ({"helo": "a\u0300" * 300}, "server: "),
        ({"received": [f"from a by {'x.' * 127}xx with mapi id 15.1.2507.39; x"]}, f"server: '{'x.' * 40}': must be"),
        ({"received": [f"from a by {'x.' * 127}xx with ESMTP id 4; x"]}, f"server: '{'x.' * 40}': must be"),
    ],
)
def test_an_event_whose_server_or_address_has_no_fit_name_is_malformed(
    fields: dict[str, Any], error: str, tmp_path: Path
) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_bytes(orjson.dumps(event(**fields)))
    results = simulated(tmp_path / "out", feed)
    (letter,) = results["dead_letters"]
    assert letter["error"].startswith(error)
    assert not results["servers"]


def test_a_name_of_255_characters_is_one_and_a_greeting_that_is_not_needed_may_be_longer() -> None:
    longest = "x." * 127 + "x"
    line = f"from a by {longest} with mapi id 15.1.2507.39; x"
    check_server([line], "y" * 300)
    assert detect([line], "y" * 300, "192.0.2.1").server == longest
    assert len(detect([], "x" * 250, "192.0.2.1").server) == 255
    with pytest.raises(MalformedError):
        detect([], "x" * 251, "192.0.2.1")


@pytest.mark.parametrize(
    ("case", "server", "finding", "build", "name", "reason"),
    [
        (
            "04-exchange2003-http-dav",
            *("ex-mb01.contoso.com", "UNDETERMINED", None, None, "Outlook Web Access of Exchange 2000/2003"),
        ),
        (
            "05-exchange55-internet-mail-service",
            *("exc01.contoso.com", "UNDETERMINED", None, None, "Internet Mail Service of Exchange 5.5 or older"),
        ),
        (
            "08-exchange-online-2014-15.0",
            *("dm2pr07mb398.namprd07.prod.outlook.com", "NOT_EXCHANGE", "15.0.944.11", "Exchange Online"),
            "Exchange Online is never judged.",
        ),
        (
            "09-exchange-online-2016-15.1",
            *("bl2nam02ht024.eop-nam02.prod.protection.outlook.com", "NOT_EXCHANGE", "15.1.409.7", "Exchange Online"),
            "Exchange Online is never judged.",
        ),
        ("48-by-numeric-tld", "ex01.corp2016.2016", "OUT_OF_DATE", "15.1.2507.39", "Exchange Server 2016 CU23", ""),
    ],
)
def test_a_message_that_was_misread(
    case: str,
    server: str,
    finding: str,
    build: str | None,
    name: str | None,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", "--json", str(CASES / "detection" / f"{case}.txt")]) == 0
    row = orjson.loads(capsys.readouterr().out)
    assert (row["server"], row["finding"], row["build"]) == (server, finding, build)
    assert row["build_name"] is None if name is None else row["build_name"].startswith(name)
    assert reason in row["reason"]
    assert "gateway" not in row["reason"]
    if finding == "NOT_EXCHANGE":
        assert (row["product"], row["cves"], row["support_ends_on"]) == ("Exchange Online", [], None)


@pytest.mark.parametrize(
    ("clause", "origin"),
    [
        ("with Internet Mail Service (5.5.2653.19)", Origin.IMS),
        ("with SMTP (Microsoft Exchange Internet Mail Service Version 5.5.2653.13)", Origin.IMS),
        ("with ESMTP (Microsoft Exchange Internet Mail Service Version 5.5.2653.13)", Origin.IMS),
        ("with SMTP\r\n (Microsoft Exchange Internet Mail Connector Version 4.0.995.52)", Origin.IMS),
        ("with Microsoft Exchange (IMC 4.0.838.14)", Origin.IMS),
        ("with Microsoft Exchange Server HTTP-DAV", Origin.HTTP_DAV),
        (
            "via Exchange Front-End Server w.contoso.com ([10.1.1.41]) with Microsoft Exchange Server HTTP-DAV ",
            "HTTP_DAV",
        ),
        ("with Microsoft SMTPSVC(5.0.2195.6713)", Origin.SMTPSVC),
        ("with SMTP (Postfix)", Origin.GATEWAY),
        ("with SMTP id 1 (Microsoft Exchange Internet Mail Service Version 5.5)", Origin.GATEWAY),
        ("with Microsoft Exchange (x IMC 4.0)", Origin.GATEWAY),
        ("with InterScan Messaging Security Suite", Origin.GATEWAY),
    ],
)
def test_what_wrote_a_line_of_an_old_exchange(clause: str, origin: str) -> None:
    line = f"from a ([192.0.2.9]) by EXC01 ([10.1.1.40]) {clause}\r\n\tid <Q3B978A8>; Fri, 12 Aug 2005 01:41:16 -0700"
    found = detect([line], "", "192.0.2.1")
    assert (found.server, found.origin, found.build) == ("exc01", origin, None)


@pytest.mark.parametrize(
    ("host", "build", "finding"),
    [
        ("a.prod.outlook.com", "15.0.1497.2", "NOT_EXCHANGE"),
        ("A.Prod.ExchangeLabs.com", "15.1.2507.39", "NOT_EXCHANGE"),
        ("a.prod.outlook.com", "14.16.175.5", "NOT_EXCHANGE"),
        ("a.prod.outlook.com", "15.20.1.1", "NOT_EXCHANGE"),
        ("a.prod.outlook.com", "15.2.221.12", "UNSUPPORTED"),
        ("a.prod.outlook.com", "14.3.498.0", "UNSUPPORTED"),
        ("outlook.com.contoso.com", "15.0.1497.2", "UNSUPPORTED"),
        ("myoutlook.com", "15.0.1497.2", "UNSUPPORTED"),
        ("outlook.com", "15.0.1497.2", "UNSUPPORTED"),
    ],
)
def test_hosts_of_exchange_online_from_before_15_20_are_not_judged(
    host: str, build: str, finding: str, tmp_path: Path
) -> None:
    line = (
        f"from a (10.0.0.9) by {host} (10.0.0.5) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026 00:00:00 +0000"
    )
    feed = tmp_path / "feed.jsonl"
    feed.write_bytes(orjson.dumps(event(received=[line])))
    results = simulated(tmp_path / "out", feed)
    (row,) = results["servers"]
    assert (row["server"], row["build"], row["finding"]) == (host.lower(), build, finding)
    assert bool(results["verdicts"]) is (finding != "NOT_EXCHANGE")
    if finding == "NOT_EXCHANGE":
        assert row["exchange_server"] == row["build_name"] == "Exchange Online"


@pytest.mark.parametrize(("feed", "stages"), [("stranger_blocks", [0]), ("stranger_releases", [8])])
def test_a_strangers_line_neither_blocks_nor_releases(feed: str, stages: list[int], tmp_path: Path) -> None:
    results = simulated(tmp_path, CASES / "hostile" / f"{feed}.jsonl")
    assert [row["stage"] for row in results["servers"]] == stages
    assert {row["build"] for row in results["servers"]} <= {"15.1.2507.61", "15.1.2106.2"}
    assert "SERVER_RESOLVED" not in {row["kind"] for row in results["notifications"]}


def test_a_host_of_exchange_online_is_not_judged_later_either() -> None:
    """Nor announced, nor judged again when another policy begins or an override ends."""
    rules = Rulebook((read_policy("microsoft-2023"), read_policy(POLICY)), shipped_catalogue())
    starts = [round(policy.effective_at.timestamp() * 1000) for policy in rules.policies]
    simulation, begin = Simulation(rules), starts[0] + 1
    host = "bl2nam02ht024.eop-nam02.prod.protection.outlook.com"
    line = f"from a by {host} with Microsoft SMTP Server id 15.1.409.7; Thu, 4 Feb 2016 05:54:09 +0000"
    kind = ConnectorType.ON_PREMISES
    simulation.feed(InboundConnection("e", begin, "contoso", "c", kind, "192.0.2.1", "h", (line,)))
    given = AdminCommand("c", "contoso", begin + 1, "a", Role.OPERATOR, CommandKind.OVERRIDE_BUILD, server=host)
    given = replace(given, build="15.2.2562.53", reason="r", expires_at=begin + DAY_MS)
    simulation.command(given)
    simulation.advance(begin + 20 * DAY_MS)
    assert simulation.states[ServerKey("contoso", host)].finding is Finding.NOT_EXCHANGE
    for start in starts[1:]:
        simulation.feed(InboundConnection(f"{start}", start - 1, "contoso", "c", kind, "192.0.2.1", "h", (line,)))
        simulation.advance(start + 20 * DAY_MS)
    assert {row.kind for row in simulation.results.notifications} == {"OVERRIDE_APPLIED", "OVERRIDE_ENDED"}
    assert {row.finding for row in simulation.results.verdicts} <= {Finding.NOT_EXCHANGE}
    assert simulation.states[ServerKey("contoso", host)].finding is Finding.NOT_EXCHANGE


def test_a_row_is_shown_whatever_spelling_its_server_is_given_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated(tmp_path, CASES / "feeds" / "s20-mapped-ipv4-two-servers.jsonl")
    for server in ("ip:192.0.2.10", "IP:::ffff:192.0.2.10"):
        assert main(["servers", "show", server, "--servers", str(tmp_path / "servers.jsonl"), "--json"]) == 0
        assert orjson.loads(capsys.readouterr().out.splitlines()[-1])["Server"] == "ip:192.0.2.10"
