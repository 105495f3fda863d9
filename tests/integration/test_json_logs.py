"""Every line of a real worker's log is a JSON object, and the important ones have their names."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.provisioning import create_topics
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.worker import Settings
from tests.support.feeds import make_feed
from tests.support.waiting import committed, until_true

LIFE = [
    *("worker_started", "policies_loaded", "partitions_assigned", "partition_fenced", "partition_restored"),
    "worker_ready",
    *("dead_letter", "worker_draining", "partitions_released", "worker_ended"),
]
"""Events of a life in which a record was bad, in the order in which each comes first."""


@pytest.mark.timeout(120)
def test_a_life_in_json_lines(settings: Settings, tmp_path: Path) -> None:
    lines = [*make_feed(51, 100), b"\x00"]
    file = tmp_path / "log"

    def logged() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    async def scenario() -> int:
        await create_topics(settings)
        with file.open("wb") as logs:
            process = await start_worker(replace(settings, log_format="json"), None, logs)

            async def is_switched() -> bool:
                return "policy_switched" in file.read_text()

            await until_true(is_switched)
            await produce_feed(settings, lines)

            async def is_done() -> bool:
                return await committed(settings) >= len(lines)

            await until_true(is_done)
            process.send_signal(signal.SIGTERM)
            return await process.wait()

    assert asyncio.run(scenario()) == 0
    found = logged()
    names = [line["event"] for line in found]
    assert sorted(LIFE, key=names.index) == LIFE
    assert names[-1] == "worker_ended"
    assert found[-1]["exit_code"] == 0
    assert {line["logger"].split(".")[0] for line in found} >= {"streams", "aiokafka", "faust"}
    assert sorted(line["partition"] for line in found if line["event"] == "partition_restored") == [0, 1, 2]
    letters = [line for line in found if line["event"] == "dead_letter"]
    assert {line["reason"] for line in letters} >= {"MalformedRecordError"}


@pytest.mark.timeout(60)
def test_a_worker_that_cannot_start_says_so_in_a_json_line(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "log"

    async def scenario() -> int:
        with file.open("wb") as logs:
            # No topics were made.
            process = await start_worker(replace(settings, log_format="json"), None, logs)
            return await process.wait()

    assert asyncio.run(scenario()) == 70
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["reason"] for line in found if line["event"] == "worker_not_started"] == ["TopicError"]
