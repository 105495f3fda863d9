"""Detection on real lines and on the forms that real mail taught."""

import csv
import json
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.domain.exchange.build import Build, Product, parse_build
from streams.domain.exchange.detection import Identity, Origin, detect
from streams.policies.catalogue.files import shipped_catalogue

SAMPLES = list(
    csv.DictReader((Path(__file__).parents[1] / "data" / "received_samples.csv").open(encoding="utf-8", newline=""))
)


@pytest.mark.parametrize("row", SAMPLES, ids=lambda row: f"{row['generation']}-{row['form']}-{row['build']}")
def test_real_line(row: dict[str, str]) -> None:
    found = detect([row["received"]], helo="", source_ip="192.0.2.1")
    assert found.server == row["by_host"].lower()
    assert found.protocol == row["proto"]
    assert found.build == (parse_build(row["build"]) if row["build"] else None)
    if found.build:
        name = shipped_catalogue().name(found.build)
        assert name.startswith(("Exchange Online",)) or name in row["meaning"]


def test_a_date_that_is_not_asked_for_is_not_read() -> None:
    line = "from a by mx1.example.com with Microsoft SMTP Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"
    found = detect((line,), "", "")
    assert found.dated_at is not None
    assert detect((line,), "", "", is_dated=False) == found._replace(dated_at=None)


def test_both_notations_are_one_build() -> None:
    assert parse_build("15.01.2507.039") == parse_build("15.1.2507.39") == Build(15, 1, 2507, 39)


@pytest.mark.parametrize(
    "text", ["", "15.1", "15.1.x.1", "1.2.3.4.5", "15.1.2507.", "9" * 10 + ".1.1.1", "\u0661.1.1.1"]
)
def test_no_build(text: str) -> None:
    with pytest.raises(ValueError, match="three or four decimal numbers"):
        parse_build(text)


def test_builds_compare_only_inside_one_cu_line() -> None:
    assert not parse_build("15.1.2308.8").reaches(parse_build("15.1.2242.12"))
    assert parse_build("15.1.2507.39").reaches(parse_build("15.1.2507.37"))


def test_2019_and_se_share_15_2() -> None:
    assert parse_build("15.2.1748.39").product is Product.EXCHANGE_2019
    assert parse_build("15.2.2562.17").product is Product.EXCHANGE_SE


def test_a_fold_can_stand_anywhere() -> None:
    line = "from a by Mail.Example.Com (10.0.0.1) with Microsoft SMTP\r\n\tServer (version=TLS1_2) id\n 15.1.2507.39"
    found = detect([line], "", "192.0.2.1")
    assert (found.server, str(found.build)) == ("mail.example.com", "15.1.2507.39")


def test_the_highest_build_of_the_unbroken_run_counts() -> None:
    lines = [
        "from mx1.example by mx1.example with Microsoft SMTP Server id 15.1.2106.2; Mon, 7 Jun 2021 07:54:05 -0700",
        "from MX1.example (::1) by MX1.example with mapi id 15.01.2106.013; Mon, 7 Jun 2021 07:54:05 -0700",
        "from b by other.example with Microsoft SMTP Server id 15.1.2106.29; Mon, 7 Jun 2021 07:54:05 -0700",
        "from a by mx1.example with Microsoft SMTP Server id 15.1.2106.29; Mon, 7 Jun 2021 07:54:05 -0700",
    ]
    found = detect(lines, "", "192.0.2.1")
    assert (str(found.build), found.position, found.protocol) == ("15.1.2106.13", 1, "mapi")


def test_a_comment_names_no_host() -> None:
    line = "from a (via by evil.example with mapi id 15.2.2562.53) by mx.example (10.0.0.1) with mapi id 15.1.2507.6"
    found = detect([line], "", "192.0.2.1")
    assert (found.server, str(found.build)) == ("mx.example", "15.1.2507.6")


def test_unbalanced_comments_hide_nothing() -> None:
    found = detect(["from a ((b) by mx.example with Microsoft SMTP Server id 15.1.2507.6"], "", "192.0.2.1")
    assert (found.server, str(found.build)) == ("mx.example", "15.1.2507.6")


def test_a_gateway_on_top_hides_the_server() -> None:
    lines = ["from a by gw.example (Postfix) with ESMTPS id 4ABC", "from a by b with mapi id 15.1.2507.39"]
    found = detect(lines, "gw.example", "192.0.2.1")
    assert (found.origin, found.build, found.server) == (Origin.GATEWAY, None, "gw.example")


def test_pickup_has_no_host_name() -> None:
    line = "from localhost by Pickup with Microsoft SMTP Server id 15.2.1748.39; Tue, 2 Dec 2025 09:24:35 +0800"
    found = detect([line], "MX.Example", "192.0.2.1")
    assert (found.server, found.identity, str(found.build)) == ("helo:mx.example", Identity.HELO, "15.2.1748.39")


def test_identity_without_any_name_is_the_address() -> None:
    found = detect([], "", "192.0.2.1")
    assert (found.server, found.identity, found.origin) == ("ip:192.0.2.1", Identity.ADDRESS, Origin.NONE)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("15.1.2507", "Exchange Server 2016 CU23"),
        ("15.1.2507.62", "at least Exchange Server 2016 CU23 Oct25SU"),
        ("15.1.2507.9999", "newer than Exchange Server 2016 CU23 Sep26SUv2"),
        ("14.3.498.0", "Exchange Server 2010 SP3 RU31"),
    ],
)
def test_builds_that_are_not_in_the_catalogue(number: str, name: str) -> None:
    assert shipped_catalogue().name(shipped_catalogue().canonical(parse_build(number))) == name


def test_missing_fixes_of_the_own_line() -> None:
    catalogue = shipped_catalogue()
    missing = [fix.cve for fix in catalogue.missing_fixes(parse_build("15.2.2562.49"))]
    assert missing == ["CVE-2026-96940"]
    assert not catalogue.missing_fixes(parse_build("15.2.2562.53"))


def test_inspect_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = tmp_path / "header.txt"
    message.write_text(f"Received: {SAMPLES[-3]['received']}\n", encoding="utf-8")
    assert main(["inspect", "--json", str(message)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["server"], row["build"]) == ("ex80.org23.example", "15.2.2562.29")


def test_inspect_names_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err
