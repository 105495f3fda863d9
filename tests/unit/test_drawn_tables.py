"""Tables on a terminal: they fit its width, lose no row, and nothing in a record can draw."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from streams.cli.main import main
from streams.cli.terminal import VisibleStream
from streams.visible import visible
from tests.support.terminal import Terminal, shown

FEED = Path(__file__).resolve().parents[2] / "examples" / "feed.jsonl"
STYLE = re.compile(r"\x1b\[([0-9;]*)m")
HOSTILE = "\x1b[2J\x1b]0;x\x07\r\nforged\t\x9b31m\u202e" + "x" * 3_000


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    lines = FEED.read_text(encoding="utf-8").splitlines(keepends=True)[:400]
    (folder / "feed.jsonl").write_text("".join(lines), encoding="utf-8")
    assert main(["simulate", "--feed", str(folder / "feed.jsonl"), "--until", "2026-10-01", "--out", str(folder)]) == 0
    return folder


def lines_of(text: str) -> list[str]:
    """What is seen, without styles; nothing else may draw."""
    seen = STYLE.sub("", text).replace("\r\n", "\n")
    assert "\x1b" not in seen
    assert all(visible(line) == line for line in seen.split("\n"))
    return seen.split("\n")


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
@pytest.mark.parametrize(
    "words", ["servers list --results {}", "servers list --servers {}/servers.jsonl", "catalogue show builtin",
              "whatif --servers {}/servers.jsonl --policy strict-critical"],
)  # fmt: skip
def test_no_line_is_wider_than_the_terminal_and_no_row_is_lost(words: str, columns: int, results: Path) -> None:
    code, text = shown(*words.format(results).split(), columns=columns)
    assert code == 0
    lines = lines_of(text)
    # What has no columns, as sentences and names in blocks, the terminal wraps.
    wide = [line for line in lines if len(line) > columns and re.search(r"\S  +\S.*  +\S", line)]
    assert not wide
    servers = [json.loads(line)["server"] for line in (results / "servers.jsonl").read_text().splitlines()]
    if words.startswith("servers list"):
        assert sum(bool(re.match(r"(?:tenant +)?tenant-\d", line, re.IGNORECASE)) for line in lines) == len(servers)


def test_a_narrow_terminal_gets_a_block_for_each_row(results: Path) -> None:
    lines = lines_of(shown("servers", "list", "--results", str(results), "--limit", "2", columns=60)[1])
    assert [line.split("  ")[0] for line in lines[:9]] == [
        "TENANT", "SERVER", "BUILD", "FINDING", "STAGE", "STATUS", "CURRENT ACTION", "NEXT DATE", "",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [60, 120, 250])
def test_a_hostile_row_draws_nothing(columns: int, results: Path, tmp_path: Path) -> None:
    for name in ("servers", "verdicts"):
        rows = [json.loads(line) for line in (results / f"{name}.jsonl").read_text().splitlines()[:3]]
        for row in rows:
            row["tenant_id"] = row["server"] = HOSTILE
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for words in (["--results", str(tmp_path)], ["--servers", str(tmp_path / "servers.jsonl")]):
        code, text = shown("servers", "list", *words, columns=columns)
        assert code == 0
        assert "\\x1b[2J" in "".join(lines_of(text)).replace(" ", "")
        assert "x" * 300 not in re.sub(r"\s", "", text)


def test_colours_are_for_terminals_that_want_them(results: Path) -> None:
    words = ("servers", "list", "--results", str(results), "--status", "BLOCKED")
    coloured = {"31", "1;31"}
    assert coloured & set(STYLE.findall(shown(*words, columns=120)[1]))
    assert not coloured & set(STYLE.findall(shown(*words, columns=120, env={"NO_COLOR": "1"})[1]))
    assert not coloured & set(STYLE.findall(shown(*words, columns=120, term="dumb")[1]))


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv"])
def test_what_programs_read_is_the_same_on_a_terminal(
    form: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["servers", "list", "--servers", str(results / "servers.jsonl"), form]
    capsys.readouterr()
    assert main(words) == 0
    assert shown(*words, columns=80)[1].replace("\r\n", "\n") == capsys.readouterr().out


def test_what_is_piped_has_one_line_for_each_row(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["servers", "list", "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len((results / "servers.jsonl").read_text().splitlines()) + 1
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("drawn", "seen"),
    [
        ("\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n"),
        ("\r\x1b[2K\x1b[1A\x1b[2K\x1b[?25l\x1b[?1049h\x1b[H", "\r\x1b[2K\x1b[1A\x1b[2K\x1b[?25l\x1b[?1049h\x1b[H"),
        ("\x1b]0;title\x07\x9b31m", "\\x1b]0;title\\x07\\x9b31m"),
        ("a\rb\x1b[6n\x1bc\u202e", "a\\rb\\x1b[6n\\x1bc\\u202e"),
    ],
)
def test_only_what_draws_is_drawn(drawn: str, seen: str) -> None:
    stream = io.StringIO()
    VisibleStream(stream, is_output=True).write_drawn(drawn)
    assert stream.getvalue() == seen


def test_a_terminal_is_as_it_was(results: Path) -> None:
    import termios

    with Terminal("servers", "list", "--results", str(results)) as terminal:
        assert terminal.end() == 0
        after: Any = termios.tcgetattr(terminal.own)
        assert after == terminal.attributes


def test_a_long_table_has_one_heading(results: Path) -> None:
    lines = lines_of(shown("servers", "list", "--results", str(results), columns=200)[1])
    assert len(lines) > 200
    assert [number for number, line in enumerate(lines) if line.startswith("TENANT ")] == [0]


@pytest.mark.parametrize("columns", [40, 120])
def test_an_empty_table_has_its_heading(results: Path, columns: int) -> None:
    words = ("servers", "list", "--results", str(results), "--tenant", "nobody")
    assert lines_of(shown(*words, columns=columns)[1])[0].split()[:3] == ["TENANT", "SERVER", "BUILD"]
