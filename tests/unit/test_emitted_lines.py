"""`tes emit` checks each line, and says which are wrong and how much was sent."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.cli import emit
from streams.cli.main import main

GOOD: dict[str, Any] = {
    "event_id": "1", "observed_at": "2026-09-01T00:00:00Z", "tenant_id": "contoso", "connector_type": "ON_PREMISES",
    "source_ip": "192.0.2.1", "received": ["from a by mx1.contoso.com with Microsoft SMTP Server id 15.1.2507.39; x"],
}  # fmt: skip


def text_of(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("not json", "line 3: b'not json': not JSON: "),
        ("[]", "line 3: b'[]': must be a JSON object"),
        (GOOD | {"tenant_id": "a b"}, "line 3: tenant_id: 'a b': must match"),
        (GOOD | {"connector_type": "CLOUD"}, "line 3: connector_type: 'CLOUD': must be one of"),
        (GOOD | {"received": "x"}, "line 3: received: 'x': must be a list of strings"),
        (GOOD | {"observed_at": "2101-01-01T02:00:00+02:00"},
         "line 3: observed_at: 2101-01-01T02:00:00+02:00: must be from 2000 to 2099"),
        (GOOD | {"observed_at": "2099-01-01T00:00:00Z"},
         "line 3: observed_at: 2099-01-01T00:00:00Z: more than 5 minutes ahead of the clock"),
        (GOOD | {"observed_at": "yesterday"}, "line 3: observed_at: 'yesterday': must be a timestamp like"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_field_and_value_and_nothing_is_sent(
    row: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feed").write_text(text_of(GOOD, "", row, GOOD))
    assert main(["emit", str(tmp_path / "feed")]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"tes emit: {said}")
    assert last == "tes emit: 1 of 3 lines are bad: nothing was sent"


def test_many_bad_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "feed").write_text(text_of(*["x"] * 50))
    assert main(["emit", str(tmp_path / "feed")]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 22
    assert shown[-2:] == ["tes emit: and 30 more bad lines", "tes emit: 50 of 50 lines are bad: nothing was sent"]


def test_a_dry_run_only_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "feed").write_text(text_of(GOOD, GOOD))
    assert main(["emit", str(tmp_path / "feed"), "--dry-run"]) == 0
    assert capsys.readouterr().err == "tes emit: 2 connections are valid; nothing was sent\n"


@pytest.mark.parametrize("file", [".", "no-such-file"])
def test_what_cannot_be_read_is_refused(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emit", str(tmp_path / file)]) == 2
    assert "irectory" in capsys.readouterr().err


def test_a_pipe_is_checked_up_to_its_first_bad_line() -> None:
    words = [sys.executable, "-m", "streams.cli", "emit", "-", "--dry-run"]
    for text, code, said in (
        (text_of(GOOD, GOOD), 0, "2 connections are valid"),
        (text_of(GOOD).rstrip("\n"), 0, "1 connections are valid"),
        ("", 0, "0 connections are valid"),
        (text_of(GOOD, "x", GOOD), 2, "line 2: b'x': not JSON"),
    ):
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_lines_of_a_pipe_are_whole_however_they_come(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"one\r\n\n  \nfour" + b"." * 1_000 + b"\nfive"
    monkeypatch.setattr(emit, "_CHUNK_BYTES", size)
    assert asyncio.run(piped(text)) == [(1, b"one"), (4, b"four" + b"." * 1_000), (5, b"five")]


def test_a_pipe_without_line_ends_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "_LONGEST_LINE", 100)
    monkeypatch.setattr(emit, "_CHUNK_BYTES", 16)
    with pytest.raises(emit.LineError, match="line 2: is longer than 100 bytes"):
        asyncio.run(piped(b"one\n" + b"." * 1_000))


async def piped(text: bytes) -> list[emit.Line]:
    """The lines that come out of a pipe into which a text is written."""
    end, begin = os.pipe()
    os.write(begin, text)
    os.close(begin)
    try:
        return [line async for line in emit._lines_of_pipe(end)]
    finally:
        os.close(end)
