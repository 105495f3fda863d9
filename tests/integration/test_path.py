"""The pages from a try to enforcement: their commands of `tes` in a reader's order, and what each page promises."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from streams.edge.connectors.files import parse_connectors
from streams.operations.feeds import produce_feed
from streams.settings.worker import Settings
from tests.support.live import line, now_ms
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import PATIENCE_SECONDS

PAGES = Path(__file__).parents[2] / "docs" / "path"
NAMES = ("try", "observe", "report", "enforce")
HOSTS = ("mx1.contoso.com", "mx3.contoso.com")
_BLOCK = re.compile(r"^ *\n((?:^ {4,}\S.*\n)+)", re.MULTILINE)
_COMMAND = re.compile(r"^ {4}((?:/opt/tes/bin/)?tes .*)$", re.MULTILINE)
# The parts of a page that run on, which the test starts itself.
RUNS_ON = {"tes worker"}


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def commands_of(name: str, *headings: str) -> list[str]:
    """The commands of `tes` below these headings of a page, or of all of it."""
    sections = re.split(r"^## ", page(name), flags=re.MULTILINE)
    chosen = [part for part in sections if not headings or part.partition("\n")[0] in headings]
    assert len(chosen) >= len(headings)
    return [found for part in chosen for found in _COMMAND.findall(part) if found not in RUNS_ON]


@pytest.mark.parametrize("name", NAMES)
def test_each_page_says_what_is_needed_seen_and_how_to_go_back(name: str) -> None:
    headings = re.findall(r"^## (.+)$", page(name), re.MULTILINE)
    assert {"What you need", "What you see", "Go back"} <= set(headings)
    # Each leads to the page before and to the next one.
    at = NAMES.index(name)
    for other in (*NAMES[max(at - 1, 0) : at], *NAMES[at + 1 : at + 2]):
        assert f"({other}.md)" in page(name).partition("## What you need")[0]


class Reader:
    """Somebody who types what the pages say, on the cluster corner of a test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.done = folder, environment, list[str]()

    def types(self, command: str) -> str:
        """Run a command as it is written; returns its stdout."""
        script = command.replace("/opt/tes/bin/tes", "tes")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{command}\n{done.stdout}{done.stderr}"
        self.done.append(command)
        return done.stdout

    def types_until(self, command: str, text: str) -> str:
        """Run a command until it shows a text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in (shown := self.types(command)):
            assert time.monotonic() < deadline, f"{command}: no {text!r} in\n{shown}"
            time.sleep(0.5)
        return shown

    def follows(self, name: str, *headings: str) -> None:
        """Run all commands of a page, or of some of its parts."""
        for command in commands_of(name, *headings):
            if command.startswith("tes policy mode"):
                self.switches(command)
            elif command == "tes doctor":
                # Right after a change of mode some partitions still show the version before.
                self.types_until("tes doctor || true", "policy in force: microsoft")
                self.types(command)
            else:
                self.types(command)

    def switches(self, command: str) -> None:
        """Change the mode, and wait until it governs; where Kafka was slow, again, as the page says."""
        mode = command.rsplit(maxsplit=1)[-1]
        for _ in range(10):
            done = subprocess.run(command.split(), env=self.environment, capture_output=True, text=True, check=False)
            if "is in the past" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        self.done.append(command)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(rf"{mode} +topic +governs", shown := self.types("tes policy list")):
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)

    def servers(self) -> dict[str, Any]:
        return {row["Server"]: row for row in orjson.loads(self.types("tes servers list --tenant contoso --json"))}

    def until_servers(self, are_so: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not are_so(rows := self.servers()):
            assert time.monotonic() < deadline, orjson.dumps(rows).decode()
            time.sleep(0.5)
        return rows


@contextmanager
def a_process(log: Path, environment: dict[str, str], port: int, *words: str) -> Iterator[Process]:
    process = Process(log, {name: value for name, value in environment.items() if name.startswith("TES_")}, *words)
    try:
        process.until_ready(port)
        yield process
    finally:
        process.end()


def connect(settings: Settings) -> None:
    """A message of each server, as an edge reports it."""
    lines = []
    for number, host in enumerate(HOSTS):
        record = orjson.loads(line(number, now_ms())) | {"tenant_id": "contoso", "helo": host}
        record["received"] = [record["received"][0].replace(f"mx{number}.example.com", host)]
        lines.append(orjson.dumps(record))
    asyncio.run(produce_feed(settings, lines))


@pytest.mark.timeout(900)
def test_a_reader_comes_from_observing_to_enforcement_and_back(settings: Settings, tmp_path: Path) -> None:
    worker_port, notify_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= settings.environment() | {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "TES_WEB_PORT": str(worker_port),
        "TES_REPORT_DIR": str(tmp_path / "tables"),
        "TES_NOTIFY_PORT": str(notify_port),
    }
    (shown,) = [block for block in _BLOCK.findall(page("report")) if "- connector_id" in block]
    (tmp_path / "connectors.yaml").write_text(re.sub(r"^ {4}", "", shown, flags=re.MULTILINE), encoding="utf-8")
    assert [one["contacts"] for one in yaml.safe_load(shown)] == [["postmaster@contoso.com"]]
    assert parse_connectors((tmp_path / "connectors.yaml").read_text(encoding="utf-8"), "connectors.yaml")
    reader = Reader(tmp_path, environment)
    with ExitStack() as stack:
        before, after = commands_of("observe", "Start the worker")[:-1], commands_of("observe", "Start the worker")[-1:]
        assert after == ["tes doctor"]
        for command in before:
            reader.switches(command) if "policy mode" in command else reader.types(command)
        stack.enter_context(a_process(tmp_path / "worker.log", environment, worker_port, "worker"))
        connect(settings)
        found = reader.until_servers(lambda rows: set(rows) == set(HOSTS))
        # Observed: known as out of date, without an episode and so without a date.
        assert {(row["Status"], row["Finding"], row["FirstDetectedDate"]) for row in found.values()} == {
            ("REPORTED", "OUT_OF_DATE", None)
        }
        reader.types_until(after[0] + " || true", "signs of life: all")
        reader.types(after[0])
        reader.follows("observe", "What you see")
        assert (tmp_path / "inventory.csv").read_text(encoding="utf-8").count("mx1.contoso.com") >= 1
        assert all(host in reader.types("tes whatif --policy enforce.yaml") for host in HOSTS)

        reader.follows("report", "Start the notices")
        stack.enter_context(a_process(tmp_path / "notify.log", environment, notify_port, "notify"))
        reader.follows("report", "Tell them")
        connect(settings)
        # Told: an episode has begun, and no date is set.
        found = reader.until_servers(lambda rows: all(row["FirstDetectedDate"] for row in rows.values()))
        assert {row["ThrottleEnabledDate"] for row in found.values()} == {None}
        for host in HOSTS:
            told = reader.types_until("tes notify log", host)
            assert "SERVER_DETECTED" in told
            assert "postmaster@contoso.com" in told
        reader.follows("report", "What you see")

        reader.follows("enforce", "Turn the ladder on")
        reader.follows("enforce", "Pause, except, override")
        reader.follows("enforce", "Go back")
        reader.follows("report", "Go back")
    # Nothing that a page says was left out.
    written = [command for name in ("observe", "report", "enforce") for command in commands_of(name)]
    assert set(written) <= set(reader.done), set(written) - set(reader.done)
    assert shutil.which("tes", path=environment["PATH"])
