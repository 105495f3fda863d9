"""`tes simulate --decisions`: what an edge would have answered to each connection of a feed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS, iso
from tests.support.episodes import DETECTED, GOOD, OLD


def line(number: int, at: int, build: str) -> str:
    stamp = f"from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026"
    row = {
        "event_id": f"e{number}",
        "observed_at": iso(at),
        "tenant_id": "contoso",
        "connector_id": "c",
        "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1",
        "helo": "mx1",
        "received": [stamp],
    }
    return json.dumps(row)


def test_each_connection_of_a_feed_has_the_answer_of_an_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = DETECTED + 91 * DAY_MS
    throttled = [DETECTED + 32 * DAY_MS + minute * MINUTE_MS for minute in range(60)]
    moments = [(DETECTED, OLD), *((at, OLD) for at in throttled), (blocked, OLD), (blocked + HOUR_MS, GOOD)]
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(line(number, at, build) for number, (at, build) in enumerate(moments)))
    out = tmp_path / "out"
    assert main(["simulate", "--feed", str(feed), "--out", str(out), "--decisions"]) == 0
    rows = [json.loads(text) for text in (out / "decisions.jsonl").read_text().splitlines()]
    assert [row["event_id"] for row in rows] == [f"e{number}" for number in range(63)]
    assert (rows[0]["cause"], rows[0]["verdict_revision"]) == ("NO_VERDICT", None)
    assert [row["action"] for row in rows[1:61]].count("THROTTLE") == 5
    assert rows[61]["reply"].startswith("550 5.7.230 Connecting Exchange server version is out-of-date;")
    assert (rows[62]["action"], rows[62]["cause"]) == ("ACCEPT", "ACCEPTED_STAMP")
    assert "an edge would have answered: 57 ACCEPT, 5 THROTTLE, 1 BLOCK" in capsys.readouterr().err
