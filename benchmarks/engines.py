"""The engines of the race: how each is started, when it is done, and how its result is checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from benchmarks.environment import COMPILED, JAVA_PEER, REPOSITORY, compiled, java_class_path, peers_python
from streams.settings.worker import Settings

PEER_VERDICTS_TOPIC = "peers.verdicts"
SHORT_SHARE = 10
"""The short feed has a tenth of the connections: for an engine that is tens of times slower than the others."""


class Result(Enum):
    """Where an engine leaves its states, and in which form."""

    PRODUCT = "the product's topics"
    STRUCT = "changelog, packed"
    FAUST = "changelog, JSON"
    QUIX = "changelog, JSON under message keys"
    SQLITE = "recovery store"
    TOTALS = "totals on stdout"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Run:
    """One run of one engine; `settings` are those of the product, with the run's own group and folder."""

    settings: Settings
    topic: str
    total: int
    folder: Path

    @property
    def group(self) -> str:
        """The consumer group, and what every topic of this run has in its name."""
        return self.settings.app_id


@dataclass(frozen=True)
class Process:
    """A command with what its environment has on top of this one."""

    command: Sequence[str]
    environment: dict[str, str]
    folder: Path = REPOSITORY


@dataclass(frozen=True)
class Engine:
    """An engine; without `commits` it prints `END` when it is done, else its group's offsets tell."""

    name: str
    start: Callable[[Run], list[Process]]
    result: Result
    commits: bool = True
    is_short: bool = False
    is_warm: bool = True
    """Whether it runs on the long feed too."""
    prepare: Callable[[], object] = lambda: None

    @property
    def is_product(self) -> bool:
        """Whether it is the shipped worker."""
        return self.result is Result.PRODUCT


def _arguments(run: Run) -> list[str]:
    output = run.settings.topic(PEER_VERDICTS_TOPIC)
    return [run.settings.bootstrap, run.topic, output, run.group, str(run.folder), str(run.total)]


def _python(module: str, *options: str, has_own: bool = False) -> Callable[[Run], list[Process]]:
    def start(run: Run) -> list[Process]:
        python = str(peers_python()) if has_own else sys.executable
        return [Process([python, "-m", f"benchmarks.peers.{module}", *_arguments(run), *options], {})]

    return start


def _kafka_streams(guarantee: str, commit_ms: int = 1000) -> Callable[[Run], list[Process]]:
    def start(run: Run) -> list[Process]:
        jvm = ["java", "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={JAVA_PEER / 'log4j2.properties'}"]
        schema = REPOSITORY / "schemas" / "inbound_connection.avsc"
        options = [f"guarantee={guarantee}", f"commit_ms={commit_ms}", "threads=2", f"schema={schema}"]
        return [Process([*jvm, "-cp", java_class_path(), "KafkaStreamsPeer", *_arguments(run), *options], {})]

    return start


def worker_processes(run: Run, count: int, tree: Path = COMPILED) -> list[Process]:
    """Workers out of a tree, as an operator starts them; each has its own state folder, as on a machine of its own."""
    processes = []
    for number in range(count):
        settings = replace(run.settings, state_dir=str(run.folder / f"state-{number}"), web_port=0)
        command = [sys.executable, "-m", "streams.cli.main", "worker"]
        processes.append(Process(command, settings.environment(), tree))
    return processes


def _worker(count: int, tree: Path = COMPILED) -> Callable[[Run], list[Process]]:
    return lambda run: worker_processes(run, count, tree)


def _floor(steps: str, client: str = "aiokafka", result: Result = Result.NOTHING) -> Engine:
    name = {"consume": "floor: consume", "decode": "floor: + full decode", "job": "floor: + regex, dict"}[steps]
    own = client == "librdkafka"
    start = _python("floor", f"steps={steps}", f"client={client}", has_own=own)
    prepare = peers_python if own else lambda: None
    return Engine(f"{name} ({client})", start, result, commits=False, is_warm=steps == "job", prepare=prepare)


FLOOR = _floor("job", result=Result.TOTALS)
WORKER = Engine("shipped worker, 1 process", _worker(1), Result.PRODUCT, prepare=compiled)

ENGINES = (
    _floor("consume"),
    _floor("decode"),
    FLOOR,
    _floor("job", "librdkafka", Result.TOTALS),
    WORKER,
    Engine("shipped worker, 2 processes", _worker(2), Result.PRODUCT, prepare=compiled),
    Engine("uncompiled worker, 1 process", _worker(1, REPOSITORY), Result.PRODUCT, is_warm=False),
    Engine("Kafka Streams exactly_once_v2", _kafka_streams("exactly_once_v2"), Result.STRUCT, prepare=java_class_path),
    Engine(
        "Kafka Streams exactly_once_v2, commit every 100 ms",
        _kafka_streams("exactly_once_v2", 100),
        Result.STRUCT,
        prepare=java_class_path,
    ),
    Engine("Kafka Streams at_least_once", _kafka_streams("at_least_once"), Result.STRUCT, prepare=java_class_path),
    Engine(
        "Quix Streams exactly-once",
        _python("quix", "guarantee=exactly-once", has_own=True),
        Result.QUIX,
        prepare=peers_python,
    ),
    Engine(
        "Quix Streams at-least-once",
        _python("quix", "guarantee=at-least-once", has_own=True),
        Result.QUIX,
        is_warm=False,
        prepare=peers_python,
    ),
    Engine("Bytewax", _python("bytewax_flow", has_own=True), Result.SQLITE, commits=False, prepare=peers_python),
    Engine("stock Faust", _python("stock_faust"), Result.FAUST, is_short=True, is_warm=False),
)


def chosen(only: str, skip: str) -> list[Engine]:
    """The engines whose names contain one of the comma-separated texts of `only` (all if empty) and none of `skip`.

    Raises:
        ValueError: a text is in no name.
    """
    for option, texts in (("--only", only), ("--skip", skip)):
        for text in filter(None, texts.split(",")):
            if not any(text.lower() in engine.name.lower() for engine in ENGINES):
                names = "; ".join(engine.name for engine in ENGINES)
                raise ValueError(f"{option}: {text!r}: must be part of an engine's name: {names}")

    def is_named(engine: Engine, texts: str) -> bool:
        return any(text.lower() in engine.name.lower() for text in texts.split(",") if text)

    return [engine for engine in ENGINES if (not only or is_named(engine, only)) and not is_named(engine, skip)]
