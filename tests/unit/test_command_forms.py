"""Small promises of single commands."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.cli import connectors, dlq, policy, state
from streams.cli.main import build_parser, main
from streams.operations.dead_letters import DeadLetter
from streams.settings.worker import Settings
from streams.worker.telemetry import WorkerTelemetry


def test_dead_letters_have_one_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    places = [("commands", 0, 1), ("connections", 2, 7), ("connections", 0, 9), ("connections", 0, 10)]

    async def read(*_: Any) -> AsyncIterator[DeadLetter]:
        for name, partition, offset in places:
            yield DeadLetter(name, partition, offset, 0, None, None, (), "", {}, None, b"")

    monkeypatch.setattr(dlq, "read_letters", read)
    assert main(["dlq", "list", "--json"]) == 0
    shown = [row["letter"] for row in json.loads(capsys.readouterr().out)]
    assert shown == ["connections/0/9", "connections/0/10", "connections/2/7", "commands/0/1"]


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, dict[str, str]]]:
    """Every command and action with its options and their help."""
    yield parser.prog, {name: action.help or "" for action in parser._actions for name in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _options(inner)


def test_json_is_one_document_and_jsonl_has_lines_wherever_they_are() -> None:
    lists = set()
    for command, options in _options(build_parser()[0]):
        if "--json" in options:
            assert "line" not in options["--json"], command
            # What prints an array has lines as well.
            assert ("array" in options["--json"]) <= ("--jsonl" in options), command
        if "--jsonl" in options:
            assert "per line" in options["--jsonl"], command
            # What follows a topic has no end, so it is no document.
            assert "--json" in options or command == "tes verdicts tail"
            lists.add(command)
    assert {"tes dlq list", "tes dlq redrive", "tes notify log", "tes servers list", "tes state export"} <= lists


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_document_and_lines_have_the_same_rows(
    count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def letters(*_: Any) -> AsyncIterator[DeadLetter]:
        for offset in range(count):
            yield DeadLetter("connections", 0, offset, 0, None, None, (), "", {}, None, b"")

    async def states(*_: Any) -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield {"row": number}

    async def connectors_of(*_: Any) -> list[dict[str, Any]]:
        return [{"connector_id": str(number)} for number in range(count)]

    monkeypatch.setattr(dlq, "read_letters", letters)
    monkeypatch.setattr(state, "export", states)
    monkeypatch.setattr(connectors, "read_published_connectors", connectors_of)
    for words in (["dlq", "list"], ["state", "export"], ["connectors", "list"]):
        assert main([*words, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert main([*words, "--jsonl"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines == document
        assert len(lines) == count


def test_a_policy_of_the_settings_is_found_as_the_list_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policy, "published_policies", lambda _: [])
    assert main(["policy", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    reference = f"{row['policy_id']}/{row['version']}"
    assert main(["policy", "diff", reference, row["policy_id"]]) == 0
    assert main(["policy", "diff", reference, "strict-critical"]) == 1
    assert main(["policy", "show", f"{row['policy_id']}/99"]) == 2


def test_a_web_port_that_is_taken_is_named() -> None:
    async def start(port: int) -> None:
        await WorkerTelemetry(Settings(web_host="127.0.0.1", web_port=port)).start()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"TES_WEB_PORT: {port}: .*in use"):
            asyncio.run(start(port))


def test_everything_that_is_wrong_with_the_settings_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    (tmp_path / "floor.yaml").write_text("policy_id: 7\n")
    for variable, value in {
        "TES_WEB_PORT": "many",
        "TES_TICK_SECONDS": "0",
        "TES_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "TES_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "TES_KAFKA_USER": "u",
        "TES_KAFKA_CA_FILE": str(tmp_path / "ca.pem"),
        "TES_KAFKA_PASSWORD_FILE": str(tmp_path / "missing"),
        "TES_POLICY": f"absent-policy,{tmp_path / 'floor.yaml'}",
    }.items():
        monkeypatch.setenv(variable, value)
    assert main(["config", "check"]) == 2
    shown = capsys.readouterr().err
    for said in ("TES_WEB_PORT: 'many'", "TES_TICK_SECONDS: 0.0", "TES_KAFKA_CA_FILE: ", "TES_KAFKA_PASSWORD_FILE: "):
        assert said in shown
    assert shown.count("TES_POLICY: ") == 2
    assert "absent-policy" in shown
    assert "floor.yaml" in shown


def test_a_list_of_dead_letters_keeps_no_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alive = most = 0

    class Value(bytes):
        def __init__(self, *_: Any) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    async def read(*_: Any) -> AsyncIterator[DeadLetter]:
        for offset in range(50, 0, -1):
            yield DeadLetter("connections", 1, offset, 0, None, Value(b"x"), (), "", {}, None, b"")

    monkeypatch.setattr(dlq, "read_letters", read)
    assert main(["dlq", "list", "--jsonl"]) == 0
    assert [json.loads(line)["letter"] for line in capsys.readouterr().out.splitlines()] == [
        f"connections/1/{offset}" for offset in range(1, 51)
    ]
    assert 0 < most < 5
