"""`tes edge decide`: the door's decision about one message by hand, and its reason."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from streams.cli.main import main
from tests.support.edge_files import fill_table, verdict_of

SERVER = "mail1.contoso.example"
LINE = f"from a by {SERVER} (192.0.2.1) with Microsoft SMTP Server id {{build}}; Tue, 1 Sep 2026 00:00:00 +0000"
VERDICT: dict[str, Any] = {
    "tenant_id": "contoso",
    "server": SERVER,
    "revision": 3,
    "stage": 4,
    "throttle_minutes_per_hour": 0,
    "block_minutes_per_hour": 60,
    "schedule": [
        {
            "stage": 7,
            "starts_at": "2027-01-01T00:00:00.000Z",
            "throttle_minutes_per_hour": 60,
            "block_minutes_per_hour": 0,
        }
    ],
    "paused_until": None,
    "required_build": "15.1.2507.44",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TES_EDGE_DIR", str(tmp_path / "edge"))
    (tmp_path / "edge").mkdir()
    return tmp_path / "edge"


def mail(folder: Path, build: str = "15.1.2507.39", text: str | None = None) -> str:
    path = folder / "message.eml"
    path.write_text(text or f"Received: {LINE.format(build=build)}\nSubject: x\n\nbody\n", encoding="utf-8")
    return str(path)


def decide(
    capsys: pytest.CaptureFixture[str], *words: str, file: str, ip: str = "192.0.2.1"
) -> tuple[int, dict[str, Any], str]:
    code = main(["edge", "decide", "--ip", ip, "--file", file, "--json", *words])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def given(folder: Path, **changed: Any) -> str:
    path = folder / "verdict.json"
    path.write_text(json.dumps(VERDICT | changed), encoding="utf-8")
    return str(path)


def test_a_given_verdict_decides_at_any_moment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--verdict", given(folder), "--at")
    _, now, _ = decide(capsys, *words, "2026-12-01T00:00:00Z", file=mail(folder))
    assert (now["action"], now["cause"], now["verdict"]["stage"]) == ("BLOCK", "BLOCKED", 4)
    assert now["reply"].startswith("550 5.7.230 ")
    assert now["verdict"]["next_stage_at"] == "2027-01-01T00:00:00.000Z"
    _, later, _ = decide(capsys, *words, "2027-01-02T00:00:00Z", file=mail(folder))
    assert (later["action"], later["verdict"]["stage"], later["verdict"]["throttle_minutes_per_hour"]) == (
        "THROTTLE",
        7,
        60,
    )
    _, patched, _ = decide(capsys, *words, "2026-12-01T00:00:00Z", file=mail(folder, "15.1.2507.44"))
    assert (patched["action"], patched["cause"]) == ("ACCEPT", "ACCEPTED_STAMP")
    _, paused, _ = decide(
        capsys,
        *("--verdict", given(folder, paused_until="2026-12-05T00:00:00Z"), "--at", "2026-12-01T00:00:00Z"),
        file=mail(folder),
    )
    assert paused["cause"] == "PAUSED"


def test_the_verdicts_on_disk_decide_for_a_configured_connector(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = verdict_of()._replace(throttle_minutes_per_hour=60, schedule=())
    fill_table(folder, verdict, confirmed_at=time.time_ns() // 1_000_000)
    file = folder / "connectors.yaml"
    file.write_text('- {connector_id: main, tenant_id: contoso, type: PARTNER, match: {cidrs: ["192.0.2.0/24"]}}')
    monkeypatch.setenv("TES_EDGE_CONNECTORS", str(file))
    code, found, _ = decide(capsys, file=mail(folder))
    assert code == 0
    assert (found["tenant_id"], found["connector_id"], found["server"]) == ("contoso", "main", SERVER)
    assert (found["trust"], found["action"], found["verdict"]["revision"]) == ("CURRENT", "THROTTLE", 1)
    code, _, err = decide(capsys, file=mail(folder), ip="198.51.100.1")
    assert code == 1
    assert "the client comes through no connector" in err


def test_a_person_reads_it_line_by_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edge", "decide", "--ip", "192.0.2.1", "--tenant", "contoso", "--file", mail(folder)]) == 0
    rows = {line[:36].strip(): line[37:] for line in capsys.readouterr().out.splitlines()}
    assert rows["server"] == SERVER
    assert rows["because"] == "There is no verdict about this server."
    assert (rows["trust"], rows["reply"]) == ("EMPTY", "-")


def test_a_verdict_about_another_server_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = decide(capsys, "--verdict", given(folder, server="mx9.contoso.example"), file=mail(folder))
    assert (code, found["cause"]) == (0, "NO_VERDICT")
    assert "is about contoso/mx9.contoso.example, and the message is not" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ip", "mx1"), "--ip: 'mx1': must be an IPv4 or IPv6 address"),
        (("--tenant", "a b"), "tenant_id: 'a b': must match"),
        (("--connector", "main"), "--connector: 'main': must go with --tenant"),
        (("--at", "soon"), "--at: "),
        (("--tls-fingerprint", "ab"), "--tls-fingerprint: 'ab': must be the SHA-256"),
        (("--verdict", "/none.json"), "--verdict: /none.json: No such file"),
    ],
)
def test_a_wrong_argument_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, _, err = decide(capsys, *words, file=mail(folder))
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"throttle_minutes_per_hour": 61}, "must be minutes of one hour"),
        ({"schedule": [{"stage": 1}]}, "starts_at: is missing"),
        ({"schedule": 5}, "verdict.json: "),
        ({"paused_until": "soon"}, "paused_until: "),
        ({"required_build": "new"}, "new"),
    ],
)
def test_a_verdict_that_is_none_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], said: str
) -> None:
    code, _, err = decide(capsys, "--verdict", given(folder, **changed), file=mail(folder))
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_message_without_received_fields_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = decide(capsys, "--tenant", "contoso", file=mail(folder, text="Subject: x\n\nbody\n"))
    assert code == 2
    assert "its header has no Received field" in err
