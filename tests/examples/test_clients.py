"""The examples for other languages write events that workers take, and decide as the published vectors say."""

from __future__ import annotations

import asyncio
import ctypes
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest
from aiokafka import TopicPartition

from streams.domain.server.sighting import check_sighting
from streams.kafka.cluster import Cluster
from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_partitions
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.reference.topics import topics
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_of, parse_moment
from streams.wire.registry import LocalRegistry
from tests.golden import REPOSITORY

CACHE = Path(os.environ["TES_CACHE_DIR"]).resolve() / "examples"
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{CACHE}/java/classes:{CACHE}/java/jars/*"]
NODE = shutil.which("node", path=f"{CACHE}/toolchains/bin:{os.environ['PATH']}") or "node"
PRODUCERS: Final = {
    "python": [str(CACHE / "python/bin/python"), "examples/python/produce_connection.py"],
    "go": [str(CACHE / "go/produceconnection")],
    "java": [*JAVA, "ProduceConnection"],
    "node": [NODE, str(CACHE / "node/produce-connection.js")],
}
READERS: Final = {
    "python": [str(CACHE / "python/bin/python"), "examples/python/read_verdicts.py"],
    "go": [str(CACHE / "go/readverdicts")],
    "java": [*JAVA, "ReadVerdicts"],
    "node": [NODE, str(CACHE / "node/read-verdicts.js")],
}
LANGUAGES = list(READERS)
TENANTS = [f"tenant-{number}" for number in range(24)]
PARTITIONS = 7
CONNECTIONS, VERDICTS = TOPICS["inbound_connection"], TOPICS["verdict"]
SECONDS = 100
MOST_LINES = 100
BY_THE_VERDICT = ("THROTTLED", "BLOCKED", "FREE_MINUTE", "PAUSED", "NO_STAGE")
"""Why an edge decides so that knows its verdicts to be current and has seen nothing that lets a message pass."""
_prctl = ctypes.CDLL(None).prctl


def action_vectors() -> list[dict[str, Any]]:
    """Every action vector, and of the edge's those that the verdict alone decides."""
    folder = REPOSITORY / "docs" / "reference"
    found: list[dict[str, Any]] = json.loads((folder / "action-vectors.json").read_text(encoding="utf-8"))
    for vector in json.loads((folder / "edge-vectors.json").read_text(encoding="utf-8")):
        cases = [case for case in vector["cases"] if "message" in case and case["cause"] in BY_THE_VERDICT]
        current = {"clock_skew_ms": 0}
        cases = [case for case in cases if case["knowledge"] == {"confirmed_at": case["at"], **current}]
        if vector["verdict"] is not None and cases:
            found.append(vector | {"cases": cases})
    return found


VECTORS = action_vectors()


def record_of(facts: dict[str, Any], verdict_id: str) -> dict[str, Any]:
    """A whole verdict with the facts of a vector."""
    (topic,) = (topic for topic in topics() if topic.schema == "verdict")
    schedule = [item | {"starts_at": parse_moment("starts_at", item["starts_at"])} for item in facts["schedule"]]
    paused = facts["paused_until"]
    until = None if paused is None else parse_moment("paused_until", paused)
    record: dict[str, Any] = topic.sample.record | facts
    return record | {"verdict_id": verdict_id, "schedule": schedule, "paused_until": until}


def key_of(facts: dict[str, Any]) -> str:
    return f"{facts['tenant_id']}/{facts['server']}"


Value = dict[str, Any] | bytes | None
"""Of a verdict's record: the verdict, or its bytes, or nothing."""


class VerdictTopic:
    """Writes verdicts as a worker does: in transactions, each key in its partition."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._codec = AvroCodec("verdict", LocalRegistry())

    def write(self, rows: Sequence[tuple[str, Value]], *, aborts: bool = False) -> None:
        asyncio.run(self._write(rows, aborts))

    async def _write(self, rows: Sequence[tuple[str, Value]], aborts: bool) -> None:
        producer = self._cluster.producer(transactional_id="worker", acks="all")
        await producer.start()
        try:
            await producer.begin_transaction()
            for key, record in rows:
                value = self._codec.encode(record) if isinstance(record, dict) else record
                place = kafka_partition(key.encode(), PARTITIONS)
                await producer.send_and_wait(VERDICTS, value, key=key.encode(), partition=place)
            await (producer.abort_transaction() if aborts else producer.commit_transaction())
        finally:
            await producer.stop()


class Reader:
    """An example that answers questions about verdicts."""

    def __init__(self, command: Sequence[str], bootstrap: str) -> None:
        self.process = subprocess.Popen(
            [*command, bootstrap],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=REPOSITORY,
            preexec_fn=lambda: _prctl(1, signal.SIGKILL),  # noqa: PLW1509 - one system call, and no lock
        )

    def ask(self, key: str, at: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"key": key, "at": at}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def await_verdict(self, key: str, verdict_id: str | None, at: str) -> None:
        deadline = time.monotonic() + SECONDS
        while self.ask(key, at)["verdict_id"] != verdict_id:
            assert time.monotonic() < deadline, f"{key!r}: {verdict_id} is not known after {SECONDS} s"

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(SECONDS)


@pytest.fixture(scope="module")
def cluster(bootstrap: str) -> Cluster:
    settings = Settings(bootstrap=bootstrap, partitions=PARTITIONS)
    asyncio.run(create_topics(settings))
    return cluster_of(settings)


@pytest.fixture
def verdicts(cluster: Cluster) -> VerdictTopic:
    return VerdictTopic(cluster)


@pytest.fixture
def readers(bootstrap: str) -> Iterator[list[Reader]]:
    """Those that a test starts; they end with it."""
    started: list[Reader] = []
    yield started
    for reader in started:
        reader.process.kill()
        reader.process.wait()


async def connections(cluster: Cluster) -> list[Any]:
    starts: dict[TopicPartition, int | None] = {
        TopicPartition(CONNECTIONS, partition): None for partition in range(PARTITIONS)
    }
    return [record async for record in read_partitions(cluster, starts)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_producer_writes_events_that_workers_take(language: str, bootstrap: str, cluster: Cluster) -> None:
    before = len(asyncio.run(connections(cluster)))
    subprocess.run([*PRODUCERS[language], bootstrap, *TENANTS], cwd=REPOSITORY, check=True, timeout=SECONDS)
    found = asyncio.run(connections(cluster))
    ids = set()
    codec, tenants = AvroCodec("inbound_connection", LocalRegistry()), []
    for record in found:
        connection = connection_of(codec.decode(record.value))
        check_sighting(connection, record.key)
        assert record.partition == kafka_partition(record.key, PARTITIONS), record.key
        tenants.append(connection.tenant_id)
        ids.add(connection.event_id)
    assert len(found) == len(ids) == before + len(TENANTS)
    assert set(tenants) == set(TENANTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reader_decides_as_the_vectors_say(
    language: str, bootstrap: str, verdicts: VerdictTopic, readers: list[Reader]
) -> None:
    first: dict[str, dict[str, Any]] = {}
    for vector in VECTORS:
        first.setdefault(key_of(vector["verdict"]), vector)
    rows = {key: record_of(vector["verdict"], str(uuid.uuid4())) for key, vector in first.items()}
    blocked = {"stage": 8, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 60, "schedule": []}
    gone = "contoso/gone.example.com"
    wrong = [(key, record | blocked | {"verdict_id": "aborted"}) for key, record in rows.items()]
    # Old verdicts, those of the vectors, a server that is forgotten; and twice what no reader may see.
    verdicts.write([*((key, record | blocked) for key, record in rows.items()), (gone, next(iter(rows.values())))])
    verdicts.write([*rows.items(), (gone, None)])
    for _ in range(2):
        verdicts.write(wrong, aborts=True)
    reader = Reader(READERS[language], bootstrap)
    readers.append(reader)
    nothing = {"verdict_id": None, "action": "ACCEPT", "reply": None}
    assert reader.ask(gone, "2026-09-01T12:00:00.000Z") == nothing
    assert reader.ask("contoso/never.example.com", "2026-09-01T12:00:00.000Z") == nothing
    for key, vector in first.items():
        judge(reader, key, rows[key]["verdict_id"], vector)
    for vector in VECTORS:
        key, verdict_id = key_of(vector["verdict"]), str(uuid.uuid4())
        verdicts.write([(key, record_of(vector["verdict"], verdict_id))])
        reader.await_verdict(key, verdict_id, vector["cases"][0]["at"])
        judge(reader, key, verdict_id, vector)
    some = next(iter(first))
    verdicts.write([(some, None)])
    reader.await_verdict(some, None, "2026-09-01T12:00:00.000Z")
    assert reader.end() == 0


def judge(reader: Reader, key: str, verdict_id: str, vector: dict[str, Any]) -> None:
    """Ask about every moment of a vector."""
    for case in vector["cases"]:
        expected = {"verdict_id": verdict_id, "action": case["action"], "reply": case["reply"]}
        assert reader.ask(key, case["at"]) == expected, (vector["says"], case["at"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_verdict_of_an_older_schema_is_read_too(
    language: str, bootstrap: str, verdicts: VerdictTopic, readers: list[Reader]
) -> None:
    """The first schema had no templates: an edge answers a text of its own."""
    oldest = json.loads((REPOSITORY / "schemas/registry.json").read_text(encoding="utf-8"))[f"{VERDICTS}-value"][0]
    assert "smtp_template_block" not in {field["name"] for field in oldest["schema"]["fields"]}
    (vector,) = (vector for vector in VECTORS if vector["says"] == "last stage: no next date")
    key, verdict_id = "contoso/old.example.com", str(uuid.uuid4())
    value = io.BytesIO(struct.pack(">bI", 0, oldest["id"]))
    value.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(value, oldest["schema"], record_of(vector["verdict"], verdict_id))
    verdicts.write([(key, value.getvalue())])
    reader = Reader(READERS[language], bootstrap)
    readers.append(reader)
    text = "550 5.7.230 Connecting Exchange server version is out-of-date; connection blocked for 60 mins/hr."
    assert reader.ask(key, vector["cases"][0]["at"]) == {"verdict_id": verdict_id, "action": "BLOCK", "reply": text}


def test_there_are_enough_vectors() -> None:
    assert sum(len(vector["cases"]) for vector in VECTORS) > 280


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*/**/*.*")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    if path.suffix in {".py", ".go", ".java", ".js"}:
        assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES
