"""Long work draws a bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from streams.cli.progress import count_lines
from tests.support.terminal import Terminal, shown

FEED = Path(__file__).resolve().parents[2] / "examples" / "feed.jsonl"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A simulation of a few thousand connections."""
    folder = tmp_path_factory.mktemp("feed")
    lines = FEED.read_text(encoding="utf-8").splitlines(keepends=True)[:2_000]
    (folder / "feed.jsonl").write_text("".join(lines), encoding="utf-8")
    return ["simulate", "--feed", str(folder / "feed.jsonl"), "--until", "2026-12-31", "--out", str(folder / "out")]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_sees_count_rate_and_rest_and_keeps_nothing_of_it(words: list[str], columns: int) -> None:
    code, text = shown(*words, columns=columns)
    assert code == 0
    drawn = [DRAWING.sub("", part) for part in re.split(r"[\r\n]+", text)]
    bars = [part for part in drawn if part.startswith("connections ")]
    assert re.fullmatch(r"connections \S+ [\d,]+/2,000 +(?:[\d,]+/s)? (?:\d+:\d\d:\d\d|-:--:--) *", bars[0])
    assert max(map(len, bars)) <= columns
    assert text.rfind(SHOW_CURSOR) > text.rfind(HIDE_CURSOR)
    # The bar is deleted before the result is printed.
    last = text.rpartition("\x1b[2K")[2]
    assert re.search(r"^\d+ verdicts, \d+ notifications", last)
    assert "connections " not in last


def test_a_file_or_a_pipe_sees_no_bar(words: list[str], tmp_path: Path) -> None:
    with (tmp_path / "messages").open("wb") as messages:
        subprocess.run([sys.executable, "-m", "streams.cli", *words], stderr=messages, check=True)
    written = (tmp_path / "messages").read_bytes()
    assert len(written.splitlines()) == written.count(b"\n") == 1
    assert not {b"\r", b"\x1b"} & {bytes([one]) for one in written}


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_ends_it_gets_the_cursor_back(end: signal.Signals, code: int) -> None:
    with Terminal("emit", "-", "--dry-run") as terminal:
        os.write(terminal.own, FEED.read_bytes().partition(b"\n")[0] + b"\n")
        terminal.wait_for(" 1 ")  # what was typed is counted
        terminal.process.send_signal(end)
        assert terminal.end() == code
        text = terminal.text
        assert HIDE_CURSOR in text
        assert text.rfind(SHOW_CURSOR) > text.rfind(HIDE_CURSOR)
        assert "Traceback" not in text
        assert termios.tcgetattr(terminal.own) == terminal.attributes


def test_a_message_comes_out_above_the_bar(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("x\n" * 3)
    code, text = shown("emit", str(tmp_path / "feed"))
    assert code == 2
    assert "line 1: b'x': not JSON" in text


@pytest.mark.parametrize(("text", "count"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\n\nb", 3), (b"\n" * 5, 5)])
def test_lines_are_counted(text: bytes, count: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(text)
    assert count_lines(tmp_path / "file") == count
