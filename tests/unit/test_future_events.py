"""A feed that runs ahead of the clock is said so, and an end before its last event is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.cli.main import main

EVENT = {
    "event_id": "e1", "observed_at": "2026-09-15T08:00:00.000Z", "tenant_id": "contoso", "connector_id": "c",
    "connector_type": "ON_PREMISES", "source_ip": "192.0.2.10", "helo": "x", "received": [], "recipients": 1,
}  # fmt: skip


def simulated(folder: Path, *words: str) -> int:
    feed = folder / "feed.jsonl"
    events = [EVENT, EVENT | {"event_id": "e963", "tenant_id": "fabrikam", "observed_at": "2099-01-01T00:00:00.000Z"}]
    feed.write_text("".join(json.dumps(event) + "\n" for event in events))
    return main(["simulate", "--feed", str(feed), "--out", str(folder / "out"), *words])


def test_an_event_of_the_future_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(tmp_path) == 0
    shown = capsys.readouterr().err
    assert "1 events are more than five minutes in the future" in shown
    assert "event_id 'e963', observed_at 2099-01-01T00:00:00.000Z" in shown


def test_an_end_before_the_last_event_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(tmp_path, "--until", "2026-12-31") == 2
    shown = capsys.readouterr().err
    assert "--until: 2026-12-31T00:00:00.000Z: must not be before the last event ('e963' at 2099-01-01" in shown
    assert not list((tmp_path / "out").iterdir())
