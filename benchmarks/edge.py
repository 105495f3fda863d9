"""What the edge costs an MTA: a real Postfix without it, with milters that do nothing, and with it.

The setups take turns in each round, so that what else the machine does meets all of them; ratios are of one round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.edge_table import HOST, fill
from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, COMPILED, REPOSITORY, MissingToolError, compiled, machine
from benchmarks.measure import cpu_seconds, tree
from benchmarks.smtp_load import Sent, send_load
from tests.support.postfix import Postfix, running_postfix

MESSAGES, ROUNDS, CONNECTIONS = 500, 5, 8
OLD, LISTED = "15.1.2507.39", (10, 1_000_000)
START_SECONDS: Final = 60.0
CONNECTORS = "- connector_id: bench\n  tenant_id: bench\n  type: ON_PREMISES\n  match:\n    cidrs: [127.0.0.0/8]\n"
SYSTEM_PYTHON = "/usr/bin/python3"


def say(text: str) -> None:
    """One line of what is going on."""
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def serving(command: list[str], path: Path, environment: dict[str, str] | None = None) -> Iterator[tuple[int, float]]:
    """A process that listens at a UNIX socket, compiled as in an image: its pid, and after how many seconds it did."""
    path.unlink(missing_ok=True)
    began = time.perf_counter()
    log = path.with_suffix(".log")
    with log.open("wb") as file:
        own = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, env=own, stdout=file, stderr=file, cwd=COMPILED)
    try:
        while True:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                    break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                        raise RuntimeError(f"{command}: does not serve: {log.read_text()[-500:]}") from None
            time.sleep(0.005)
        yield process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def door_environment(folder: Path, milter: Path) -> dict[str, str]:
    """The settings of a door with this folder."""
    connectors = folder / "connectors.yaml"
    connectors.write_text(CONNECTORS, encoding="utf-8")
    return {
        "TES_EDGE_DIR": str(folder),
        "TES_EDGE_MODE": "enforce",
        "TES_EDGE_CONNECTORS": str(connectors),
        "TES_EDGE_MILTER": f"unix:{milter}",
        "TES_EDGE_MILTER_MODE": "0666",
        "TES_EDGE_DOOR_PORT": "0",
    }


def resident_mib(pid: int) -> float:
    """Resident memory now."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


class Bench:
    """One Postfix, and the milters that it is asked to use in turns."""

    def __init__(self, postfix: Postfix, folder: Path, messages: int) -> None:
        self._postfix, self._folder, self._messages = postfix, folder, messages
        self._ports: dict[str, int] = {}

    def _port(self, name: str, milter: Path | None) -> int:
        if name not in self._ports:
            self._ports[name] = self._postfix.listen(milter)
        return self._ports[name]

    def _load(self, port: int, helo: str = HOST) -> Sent:
        return asyncio.run(send_load(port, helo, OLD, connections=CONNECTIONS, messages=self._messages))

    def alone(self) -> dict[str, Any]:
        """Postfix with no milter."""
        return figures(self._load(self._port("alone", None)))

    def null(self) -> dict[str, Any]:
        """With our protocol's milter that does nothing."""
        return self._with("null", [sys.executable, "-m", "benchmarks.null_milter"])

    def pymilter(self) -> dict[str, Any]:
        """With pymilter's."""
        return self._with("pymilter", [SYSTEM_PYTHON, str(REPOSITORY / "benchmarks" / "pymilter_null.py")])

    def _with(self, name: str, command: list[str]) -> dict[str, Any]:
        path = self._folder / f"{name}.sock"
        with serving([*command, str(path)], path):
            return figures(self._load(self._port(name, path)))

    def door(self, listed: int, folder: Path) -> dict[str, Any]:
        """With the edge, which knows so many verdicts; this client's server has one that accepts."""
        path = self._folder / f"door{listed}.sock"
        command = [sys.executable, "-m", "streams.cli", "edge", "door"]
        with serving(command, path, door_environment(folder, path)) as (pid, seconds):
            at_start = resident_mib(pid)
            cpu = sum(map(cpu_seconds, tree(pid)))
            sent = self._load(self._port(f"door{listed}", path))
            spent = sum(map(cpu_seconds, tree(pid))) - cpu
            return figures(sent) | {
                "started_seconds": round(seconds, 2),
                "start_mib": round(at_start, 1),
                "loaded_mib": round(resident_mib(pid), 1),
                "door_us_per_message": round(spent / len(sent.seconds) * 1e6, 1),
            }

    def refusals(self, folder: Path) -> dict[str, Any]:
        """Mail of a server that is blocked: all but three messages are refused at MAIL."""
        path = self._folder / "refusing.sock"
        command = [sys.executable, "-m", "streams.cli", "edge", "door"]
        with serving(command, path, door_environment(folder, path)):
            self._load(self._port("refusing", path), "blocked." + HOST)
            return figures(self._load(self._port("refusing", path), "blocked." + HOST))


def figures(sent: Sent) -> dict[str, Any]:
    """What is kept of a load."""
    return {
        "per_second": round(sent.per_second),
        "p50_ms": round(sent.quantile(0.5) * 1e3, 2),
        "p99_ms": round(sent.quantile(0.99) * 1e3, 2),
        "codes": {str(code): count for code, count in sorted(sent.codes.items())},
    }


def ratio(rows: list[dict[str, Any]], setup: str, other: str) -> float:
    """The middle of the ratios of messages a second, each within one round."""
    rates: dict[int, dict[str, float]] = {}
    for row in rows:
        rates.setdefault(row["round"], {})[row["setup"]] = row["per_second"]
    return round(median(round_[setup] / round_[other] for round_ in rates.values()), 3)


def added_p99(rows: list[dict[str, Any]], setup: str, other: str) -> float:
    """The middle of what a setup adds to the other's 99th percentile, in ms."""
    times: dict[int, dict[str, float]] = {}
    for row in rows:
        times.setdefault(row["round"], {})[row["setup"]] = row["p99_ms"]
    return round(median(round_[setup] - round_[other] for round_ in times.values()), 2)


def part(name: str, folder: Path, count: int) -> dict[str, Any]:
    """One of the parts, in a process of its own, compiled as in an image."""
    command = [sys.executable, "-m", "benchmarks.edge_parts", name, str(folder), str(count)]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=COMPILED, check=True, stdout=subprocess.PIPE).stdout)
    return found


def check_tools() -> None:
    """Refuse to begin without what the setups need.

    Raises:
        MissingToolError: something is missing.
    """
    if subprocess.run([SYSTEM_PYTHON, "-c", "import Milter"], capture_output=True, check=False).returncode:
        raise MissingToolError(f"pymilter is missing for {SYSTEM_PYTHON}: apt-get install python3-milter")


def measure(messages: int, rounds: int, listed: tuple[int, ...], events: int) -> dict[str, Any]:
    """All of it."""
    compiled()
    shutil.rmtree(CACHE_DIR / "edge", ignore_errors=True)
    folders = {}
    for count in listed:
        folders[count] = CACHE_DIR / "edge" / str(count)
        say(f"writing {count:,} verdicts")
        fill(folders[count], count)
    rows: list[dict[str, Any]] = []
    scratch = Path(tempfile.mkdtemp(prefix="tes-bench-"))
    scratch.chmod(0o755)
    try:
        with running_postfix() as postfix:
            bench = Bench(postfix, scratch, messages)
            setups: dict[str, Callable[[], dict[str, Any]]] = {
                "Postfix alone": bench.alone,
                "milter that does nothing": bench.null,
                "pymilter that does nothing": bench.pymilter,
            }
            for count, folder in folders.items():
                setups[f"edge, {count:,} verdicts"] = partial(bench.door, count, folder)
            setups["edge, refusing at MAIL"] = partial(bench.refusals, folders[listed[0]])
            names = list(setups)
            for number in range(1, rounds + 1):
                turn = (number - 1) % len(names)
                for name in names[turn:] + names[:turn]:
                    rows.append({"setup": name, "round": number} | setups[name]())
                    say(f"round {number}: {json.dumps(rows[-1])}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    last = folders[listed[-1]]
    say("decisions, the spool, HTTP")
    parts = {
        "decision": part("decisions", last, 20_000),
        "spool": part("spooled", CACHE_DIR / "edge" / "spool", events),
        "http": part("http_decisions", last, events),
        "drain": part("drained", CACHE_DIR / "edge" / "drain", events),
    }
    return {"rows": rows, "parts": parts}


def document(about: dict[str, Any], found: dict[str, Any]) -> str:
    """The report."""
    rows = found["rows"]
    names = list(dict.fromkeys(row["setup"] for row in sorted(rows, key=lambda row: row["round"])))
    lines = [
        f"# The edge beside Postfix, {about['date']}",
        "",
        f"`{about['command']}` on {json.dumps(about['machine'])}.",
        "",
        f"Postfix, load and milter share the machine; {CONNECTIONS} connections, 9 KB and 28 header lines a message.",
        "Middle of the rounds; ratios are taken within each round. The door is compiled, as in an image.",
        "",
        "| setup | messages/s | p50 ms | p99 ms | to the milter that does nothing |",
        "|---|---|---|---|---|",
    ]
    null = "milter that does nothing"
    for name in names:
        of = [row for row in rows if row["setup"] == name]
        cells = [round(median(row[field] for row in of), 2) for field in ("per_second", "p50_ms", "p99_ms")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {cells[2]} | {ratio(rows, name, null)} |")
    lines += [
        "",
        "| edge with | added p99 over it, ms | start, s | MiB at start | MiB after the load | µs of CPU a message |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name in names:
        of = [row for row in rows if row["setup"] == name and "start_mib" in row]
        if of:
            fields = ("started_seconds", "start_mib", "loaded_mib", "door_us_per_message")
            cells = [round(median(row[field] for row in of), 2) for field in fields]
            lines.append(f"| {name} | {added_p99(rows, name, null)} | " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| part | figures |", "|---|---|"]
    lines += [f"| {name} | {json.dumps(part)} |" for name, part in found["parts"].items()]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Run it; the whole is written to where it is committed."""
    parser = argparse.ArgumentParser(prog="scripts/bench edge", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each connection (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    parser.add_argument("--verdicts", type=int, nargs="+", default=list(LISTED), help="(%(default)s)")
    parser.add_argument("--events", type=int, default=50_000, help="of the spool and of HTTP (%(default)s)")
    arguments = parser.parse_args(argv)
    check_tools()
    found = measure(arguments.messages, arguments.rounds, tuple(arguments.verdicts), arguments.events)
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/bench", "edge", *argv]),
        "machine": machine(),
    }
    out = COMMITTED_DIR if not argv else REPOSITORY / "results" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"edge-{about['date']}.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")
    text = document(about, found)
    (out / f"edge-{about['date']}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0
