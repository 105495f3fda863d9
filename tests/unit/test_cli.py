"""The command line: keys, exit codes, and errors that name field and value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from streams.cli.main import EXIT_PIPE, main
from streams.cli.options import operator
from streams.domain.policy.content import PolicyError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import parse_policy, read_policy, shipped_policies
from streams.settings.worker import Settings, SettingsError, read_settings
from streams.wire.records import to_json_line, to_record
from streams.worker.processor import CACHED_SERVERS
from tests.support.episodes import DETECTED, connection, run

LINE = (
    "Received: from a by EX01.contoso.com (10.0.0.1) with Microsoft SMTP Server (version=TLS1_2)\r\n"
    " id 15.1.2507.39; x\n"
)


def test_inspect_names_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.eml").write_text(LINE + "Subject: x\n\nbody")
    assert main(["inspect", str(tmp_path / "m.eml"), "--at", "2026-10-31", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["server"], row["identity"], row["build"]) == ("ex01.contoso.com", "STAMP", "15.1.2507.39")
    assert (row["finding"], row["required_build"]) == ("OUT_OF_DATE", "15.1.2507.61")
    assert row["remedy"] == {"name": "Exchange Server 2016 CU23 Oct25SU", "kb": "KB5066369"}
    assert "CVE-2026-42897" in row["cves"]
    assert row["evidence"]["position"] == 0
    assert row["read"] == "header of the message"


def test_inspect_tells_a_person_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.eml").write_text(LINE + "Subject: x\n\nbody")
    assert main(["inspect", str(tmp_path / "m.eml"), "--at", "2026-10-31"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-3])) <= 120
    for fact in (
        "read            header of the message",
        "server          ex01.contoso.com",
        "build_name      Exchange Server 2016 CU23 Apr24HU",
        "finding         OUT_OF_DATE",
        "required_build  15.1.2507.61",
        "remedy          name: Exchange Server 2016 CU23 Oct25SU",
        "                kb: KB5066369",
        "cves            CVE-2024-49040, CVE-2025-25005",
        "support_ends_on 2025-10-14",
        "esu_ends_on     2026-10-31",
        "evidence        received: from a by EX01.contoso.com (10.0.0.1) with Microsoft SMTP Server",
        "                protocol: Microsoft SMTP Server",
    ):
        assert fact in shown


def test_inspect_names_no_server_where_the_line_names_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").write_text("from localhost by Pickup with Microsoft SMTP Server id 15.2.1748; x\n")
    assert main(["inspect", str(tmp_path / "m"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["server"], row["identity"], row["build"]) == (None, None, None)
    assert (row["product"], row["build_name"]) == ("Exchange Server 2019", "Exchange Server 2019 CU15")


def test_inspect_says_what_it_did_not_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").write_text("hello\n")
    assert main(["inspect", str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err == f"tes inspect: {tmp_path / 'm'}: no Received line found\n"


def test_the_date_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").write_text("Received: from a by b.example with Microsoft SMTP Server id 15.0.1497.48; x\n")
    findings = []
    for at in ("2023-11-30", "2023-12-01"):
        assert main(["inspect", str(tmp_path / "m"), "--policy", "microsoft-2023", "--at", at, "--json"]) == 0
        findings.append(json.loads(capsys.readouterr().out)["finding"])
    assert findings == ["OUT_OF_SCOPE", "UNSUPPORTED"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "no-such-file"],
        ["inspect", __file__],
        ["inspect", __file__, "--at", "soon"],
        ["inspect", __file__, "--policy", "none-such"],
        ["simulate", "--feed", "no-such-file", "--out", "."],
    ],
)
def test_unreadable_input_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert not captured.out


def test_policies_in_succession_govern_from_their_moments(tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    record = {
        "event_id": "1", "observed_at": "2026-08-31T23:59:59.999Z", "tenant_id": "t", "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1", "received": [LINE.removeprefix("Received: ")],
    }  # fmt: skip
    later = record | {"event_id": "2", "observed_at": "2026-09-01T00:00:00.000Z"}
    feed.write_text(json.dumps(record) + "\n" + json.dumps(later) + "\n")
    both = ["--policy", "microsoft-2026-09", "--policy", "microsoft-2023"]
    assert main(["simulate", "--feed", str(feed), "--out", str(tmp_path), *both]) == 0
    (verdict,) = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert verdict["detected_at"] == "2026-09-01T00:00:00.000Z"
    assert verdict["policy_id"] == "microsoft-2026-09"


SHIPPED = (files("streams.policies.data") / "policies" / "microsoft-2026-09.yaml").read_text()


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_are_good(name: str) -> None:
    assert read_policy(name).policy_id == name


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("15.1.2507.61", "15.1.9999.1", "not in the catalogue"),
        ("15.1.2507.61", "15.2.1748.39", "not a build of Exchange Server 2016"),
        ("{from_day: 40, throttle_minutes_per_hour: 10", "{from_day: 40, throttle_minutes_per_hour: 1", "less strict"),
        ("throttle_minutes_per_hour: 20", "throttle_minutes_per_hour: 61", "'61'"),
        ("mode: enforce", "mode: destroy", "'destroy'"),
        ("version: 1", "version: one", "'one'"),
        ("cohort_percent: 100", "cohort_percent: 101", "'101'"),
        ("ON_PREMISES", "CLOUD", "'CLOUD'"),
        ("mode: enforce", "mode: enforce\ncolour: red", "unknown field"),
        ("accept: floor", "accept: some", "'some'"),
        ("2023-12-01", "soon", "must be a date"),
        ("policy_id: microsoft-2026-09", "", "is missing"),
        ("mode: enforce", "mode: [", "not YAML"),
    ],
)
def test_a_bad_policy_is_refused_with_line_field_and_value(old: str, new: str, names: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(SHIPPED.replace(old, new), "bad.yaml", shipped_catalogue())
    assert names in str(refused.value)
    assert str(refused.value).startswith("bad.yaml:")


def test_settings_come_from_the_environment_alone() -> None:
    found = read_settings({"TES_PARTITIONS": "8", "TES_POLICY": "a,b", "HOME": "x"})
    assert (found.partitions, found.policies) == (8, ("a", "b"))
    assert read_settings(found.environment()) == found


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TES_PARTITIONS", "many"),
        ("TES_PARTITIONS", "0"),
        ("TES_CACHED_SERVERS", "3"),
        ("TES_STATE_CACHE_BYTES", "262143"),
        ("TES_GATHER_SECONDS", "-1.0"),
        ("TES_GATHER_SECONDS", "nan"),
        ("TES_TICK_SECONDS", "inf"),
        ("TES_COLOUR", "red"),
    ],
)
def test_a_bad_setting_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: '?{'unknown' if variable == 'TES_COLOUR' else value}"):
        read_settings({variable: value})


def test_the_partitions_share_the_cached_servers() -> None:
    settings = read_settings({"TES_PARTITIONS": "12", "TES_CACHED_SERVERS": "100000"})
    assert settings.cached_servers_of_partition == 8_333
    assert Settings().cached_servers_of_partition == CACHED_SERVERS


def test_secrets_are_not_shown() -> None:
    assert all("redacted" not in str(value) for value in Settings().shown().values())


def test_a_reader_that_goes_away_gives_no_traceback() -> None:
    words = [sys.executable, "-m", "streams.cli.main", "policy", "show", "strict-critical"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (EXIT_PIPE, b"")


def test_a_server_is_shown_without_the_control_characters_of_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(connection(DETECTED, host="mx1.example.com\x07"))
    (key,) = found.states
    row = to_record(found.results.servers[key])
    row["evidence"]["received"] += "\x1b[31m"
    rows = tmp_path / "servers.jsonl"
    rows.write_bytes(to_json_line(row))
    assert main(["servers", "show", key.server, "--servers", str(rows)]) == 0
    out = capsys.readouterr().out
    assert "Identity" in out
    assert out.replace("\n", "").isprintable()


def test_a_user_without_a_name_goes_by_his_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert operator() == f"uid-{os.getuid()}"
