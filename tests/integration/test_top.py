"""`tes top` against a broker and a real worker."""

from __future__ import annotations

import asyncio
import json
import signal
import termios
from dataclasses import replace
from typing import Any

import pytest

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.support.live import line, now_ms, until_found
from tests.support.terminal import Terminal, shown


async def worked(settings: Settings) -> asyncio.subprocess.Process:
    """A worker that has judged three servers."""
    await create_topics(settings)
    worker = await start_worker(replace(settings, tick_seconds=0.2), None)
    await produce_feed(settings, [line(server, now_ms() - DAY_MS) for server in (1, 2, 3)])
    await until_found(settings, lambda found: len(found.servers) == 3)
    return worker


@pytest.mark.timeout(120)
def test_one_picture_has_what_there_is(settings: Settings, tes: Any) -> None:
    with asyncio.Runner() as runner:
        worker = runner.run(worked(settings))
        try:
            row = json.loads(tes("top", "--json")[1])
            while any(item["sign"] is None for item in row["partitions"]):
                row = json.loads(tes("top", "--json")[1])
            (member,) = row["workers"]
            assert member["partitions"] == list(range(settings.partitions))
            assert sum(row["stages"].values()) == 3
            assert row["lag"] == 0
            assert {item["worker"] for item in row["partitions"]} == {member["name"]}
            assert all(item["sign"]["app_id"] == settings.app_id for item in row["partitions"])
            code, text = shown("top", "--once", env=settings.environment())
            assert code == 0
            assert "\x1b[?1049h" not in text
            assert member["name"] in text
        finally:
            worker.send_signal(signal.SIGTERM)
            assert runner.run(worker.wait()) == 0
    asyncio.run(produce_feed(settings, [line(1, now_ms())]))
    row = json.loads(tes("top", "--json")[1])
    assert (row["lag"], row["workers"]) == (1, [])


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_terminal_is_left_in_order(settings: Settings, end: signal.Signals, code: int) -> None:
    asyncio.run(create_topics(settings))
    with Terminal("top", "--interval", "0.1", env=settings.environment()) as terminal:
        terminal.wait_for("SIGN OF LIFE")
        asyncio.run(produce_feed(settings, [line(1, now_ms())] * 5))
        terminal.wait_for("\x1b[33m5\x1b[0m")  # it is drawn again
        terminal.process.send_signal(end)
        assert terminal.end() == code
        text = terminal.text
        assert text.startswith("\x1b[?1049h")
        assert text.endswith("\x1b[?25h\x1b[?1049l")
        assert "Traceback" not in text
        assert termios.tcgetattr(terminal.own) == terminal.attributes


@pytest.mark.timeout(120)
def test_what_is_missing_is_named(settings: Settings, tes: Any) -> None:
    code, out, err = tes("top", "--once")
    assert (code, out) == (1, "")
    assert "does not exist" in err


@pytest.mark.timeout(120)
def test_a_sign_of_life_counts_by_what_it_says_and_not_by_its_key(settings: Settings, tes: Any) -> None:
    codec = AvroCodec("partition_progress", LocalRegistry())

    async def write() -> None:
        await create_topics(settings)
        async with cluster_of(settings).producer() as producer:
            for key, app_id in ((b"9" * 5_000, settings.app_id), (b"1", "another")):
                sign = PartitionProgress(1 if app_id == "another" else 2, now_ms(), now_ms(), "p", 1, "1", app_id)
                value = codec.encode(sign._asdict())
                await producer.send_and_wait(settings.topic(TOPICS["partition_progress"]), value, key=key)

    asyncio.run(write())
    code, out, err = tes("top", "--json")
    assert (code, err) == (0, "")
    assert [item["sign"] is not None for item in json.loads(out)["partitions"]] == [False, False, True]
