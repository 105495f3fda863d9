"""A feed that runs ahead of the clock is said so, and an end before its last event is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.cli.simulate import FeedEnd

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
    assert "1 records are more than five minutes in the future" in shown
    assert "event_id 'e963', observed_at 2099-01-01T00:00:00.000Z" in shown


def test_an_end_before_the_last_event_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(tmp_path, "--until", "2026-12-31") == 2
    shown = capsys.readouterr().err
    assert "--until: 2026-12-31: must not be before the last record (event_id 'e963'" in shown
    assert not list((tmp_path / "out").iterdir())


FEED = Path(__file__).parents[1] / "data" / "hostile" / "s5-future-event-other-tenant.jsonl"


def test_one_stray_event_ages_no_other_tenant(tmp_path: Path) -> None:
    lines = FEED.read_text().splitlines()
    stray = [line for line in lines if "2099-" in line]
    (tmp_path / "without.jsonl").write_text("\n".join(line for line in lines if line not in stray))
    assert len(stray) == 1
    shown = []
    for feed in (FEED, tmp_path / "without.jsonl"):
        out = tmp_path / feed.stem
        assert main(["simulate", "--feed", str(feed), "--out", str(out)]) == 0
        shown.append(
            [
                line
                for name in ("verdicts", "notifications", "servers")
                for line in (out / f"{name}.jsonl").read_text().splitlines()
                if '"contoso"' in line
            ]
        )
    assert shown[0]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("command", ["simulate", "replay"])
def test_both_refuse_an_end_before_the_last_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = [command, "--feed", str(FEED), "--out", str(tmp_path / "out"), "--until", "2026-12-31"]
    assert main(words) == 2
    assert f"tes {command}: --until: 2026-12-31: must not be before" in capsys.readouterr().err


def test_a_feed_that_lies_in_the_future_ends_with_its_last_event() -> None:
    end = FeedEnd()
    end.note(2**42, "observed_at", "a")
    assert end.default_until == 2**42
    end.note(5, "observed_at", "b")
    assert end.default_until == 5
