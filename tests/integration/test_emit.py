"""`tes emit` against a broker: what workers get, and what is said where a line is bad."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_record
from streams.wire.registry import registry_of
from tests.support.live import line, now_ms
from tests.support.terminal import TES
from tests.support.waiting import until_true

WORDS = [*TES, "emit"]


async def connections(settings: Settings) -> list[Any]:
    return [record async for record in read_settled(cluster_of(settings), settings.topic(TOPICS["inbound_connection"]))]


def test_each_line_is_a_record_with_its_key_in_its_partition(settings: Settings, tes: Any, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    lines = [line(number, now_ms() - 60_000 + number) for number in range(20)]
    (tmp_path / "feed").write_bytes(b"\n".join(lines))
    code, out, err = tes("emit", str(tmp_path / "feed"))
    topic = settings.topic(TOPICS["inbound_connection"])
    assert (code, out, err) == (0, "", f"tes emit: 20 connections sent to {topic}\n")
    found = asyncio.run(connections(settings))
    codec = AvroCodec("inbound_connection", registry_of(settings))
    records = [codec.decode(record.value) for record in found]
    wanted = [connection_record(text) for text in lines]
    assert sorted(records, key=str) == sorted(wanted, key=str)
    for record, content in zip(found, records, strict=True):
        assert record.key == content["tenant_id"].encode()
        assert record.partition == kafka_partition(record.key, settings.partitions)


def test_from_a_pipe_what_is_in_front_of_a_bad_line_is_sent_and_said(settings: Settings) -> None:
    asyncio.run(create_topics(settings))
    now = now_ms()
    text = b"\n".join([line(1, now), line(2, now), b"", b"{}", line(3, now)])
    done = run(settings, input=text)
    assert done.returncode == 2
    # In front of them the client may say that a broker was not ready yet.
    first, last = done.stderr.decode().splitlines()[-2:]
    assert last.startswith("tes emit: line 4: received: None: must be a list of strings")
    assert first.endswith("2 connections sent to " + settings.topic(TOPICS["inbound_connection"]) + ", up to line 2")
    assert len(asyncio.run(connections(settings))) == 2


def test_a_pipe_is_sent_as_it_comes_and_ctrl_c_says_how_much_that_was(settings: Settings) -> None:
    asyncio.run(create_topics(settings))
    process = subprocess.Popen([*WORDS, "-"], env=environment(settings), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(line(1, now_ms()) + b"\n")
    process.stdin.flush()

    async def has_come() -> bool:
        return len(await connections(settings)) == 1

    asyncio.run(until_true(has_come))  # the pipe is still open
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().startswith("tes emit: 1 connections sent to ")
    assert len(err.splitlines()) == 1


def test_a_topic_that_is_missing_is_named(settings: Settings, tes: Any, tmp_path: Path) -> None:
    (tmp_path / "feed").write_bytes(line(1, now_ms()))
    code, _, err = tes("emit", str(tmp_path / "feed"))
    assert code == 1
    assert f"{settings.topic(TOPICS['inbound_connection'])}: does not exist" in err
    assert "0 connections sent" in err


def environment(settings: Settings) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TES_")} | settings.environment()


def run(settings: Settings, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*WORDS, *(words or ("-",))], env=environment(settings), capture_output=True, timeout=60, check=False, **options
    )
