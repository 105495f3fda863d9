"""The command line: what each command loads, and the old names that still work."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.cli.main import COMMANDS, build_parser, main

HEAVY = {"aiokafka", "faust", "mode", "fastavro", "rocksdict", "avro", "aiohttp", "yaml"}
LOADED = """
import json, sys
from streams.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.__stdout__)
"""
Tes = Callable[..., tuple[int, str]]


@pytest.fixture
def tes(capsys: pytest.CaptureFixture[str]) -> Tes:
    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(list(words))
        return code, capsys.readouterr().out

    return run


@pytest.mark.parametrize("words", [["--version"], ["--help"], []])
def test_what_needs_no_command_loads_none(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code in (0, None)
    assert not HEAVY & set(modules)


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = re.findall(r"^ {4}(\w+)", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_a_command_knows_its_arguments_when_it_is_parsed() -> None:
    words = ["servers", "list", "--tenant", "contoso"]
    for is_whole in (True, False):
        parser, names = build_parser(is_whole=is_whole)
        assert names == set(COMMANDS)
        assert parser.parse_args(words).tenant == "contoso"


@pytest.mark.parametrize(
    ("old", "new", "rest"),
    [
        (("dlq", "replay"), ("dlq", "redrive"), ("--all", "--by", "me")),
        (
            ("override", "build"),
            ("override", "set"),
            (
                *("--tenant", "contoso", "--server", "mx1", "--build", "15.1.2507.61", "--by", "me"),
                *("--reason", "stamp", "--expires-at", "2026-12-31"),
            ),
        ),
    ],
)
def test_an_old_name_is_the_same_command(old: tuple[str, ...], new: tuple[str, ...], rest: tuple[str, ...]) -> None:
    def parsed(words: tuple[str, ...]) -> dict[str, object]:
        found: argparse.Namespace = build_parser()[0].parse_args([*words, *rest])
        return {name: value for name, value in vars(found).items() if name not in ("action", "run")}

    assert parsed(old) == parsed(new)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    feed = Path(__file__).resolve().parents[2] / "examples" / "feed.jsonl"
    lines = feed.read_text(encoding="utf-8").splitlines(keepends=True)[:400]
    (folder / "feed.jsonl").write_text("".join(lines), encoding="utf-8")
    out = folder / "out"
    assert main(["simulate", "--feed", str(folder / "feed.jsonl"), "--until", "2026-10-01", "--out", str(out)]) == 0
    return out


def test_the_servers_of_a_result_folder_are_listed_with_what_the_edge_does(results: Path, tes: Tes) -> None:
    code, listed = tes("servers", "list", "--results", str(results))
    assert code == 0
    assert "CURRENT ACTION" in listed
    assert "blocks 60 min/h" in listed
    assert tes("table", str(results)) == (0, listed)


def test_they_are_chosen_by_tenant_status_and_number(results: Path, tes: Tes) -> None:
    rows = tes("servers", "list", "--results", str(results))[1].splitlines()[1:]
    tenant, status = rows[0].split()[0], "BLOCKED"
    own = tes("servers", "list", "--results", str(results), "--tenant", tenant)[1].splitlines()[1:]
    assert own == [row for row in rows if row.split()[0] == tenant] != []
    blocked = tes("servers", "list", "--results", str(results), "--status", status)[1].splitlines()[1:]
    assert len(blocked) == sum(status in row for row in rows) > 0
    first = tes("servers", "list", "--results", str(results), "--limit", "2")[1].splitlines()
    assert first[-1] == f"... and {len(rows) - 2} more"
    assert tes("table", str(results), "--limit", "2")[1].splitlines() == first


@pytest.mark.parametrize("option", [["--json"], ["--csv"], ["--servers", "servers.jsonl"]])
def test_other_forms_are_refused_there(results: Path, tes: Tes, option: list[str]) -> None:
    assert tes("servers", "list", "--results", str(results), *option)[0] == 2


def test_a_folder_without_results_is_refused(tmp_path: Path, tes: Tes) -> None:
    assert tes("servers", "list", "--results", str(tmp_path))[0] == 2
