"""Live workers: records of now, and waits for what is to come out."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson

from streams.domain.time import DAY_MS, iso
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import Collected, collect, start_worker
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from tests.support.feeds import START
from tests.support.waiting import PATIENCE_SECONDS

OLD = "15.1.2507.39"
LENIENT = replace(read_policy("microsoft-2023"), policy_id="lenient")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def line(server: int, at: int, build: str = OLD) -> bytes:
    host = f"mx{server}.example.com"
    record = {
        "event_id": f"{server}-{at}",
        "observed_at": iso(at),
        "tenant_id": f"tenant-{server % 5}",
        "connector_id": "c",
        "connector_type": "ON_PREMISES",
        "source_ip": "192.0.2.1",
        "helo": host,
        "received": [f"from a by {host} with Microsoft SMTP Server id {build}; Mon, 1 Jun 2026 00:00:00 +0000"],
    }
    return orjson.dumps(record)


async def until_found(settings: Settings, is_there: Callable[[Collected], bool]) -> Collected:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await collect(settings)
            if is_there(found):
                return found


async def with_workers(settings: Settings, scenario: Callable[[], Awaitable[Collected]]) -> Collected:
    await create_topics(settings)
    workers = [
        await start_worker(replace(settings, state_dir=f"{settings.state_dir}-{number}"), None) for number in range(2)
    ]
    try:
        return await scenario()
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [await worker.wait() for worker in workers] == [0, 0]


def of_kind(found: Collected, kind: str) -> list[dict[str, Any]]:
    return [row for row in found.notifications if row["kind"] == kind]


def pause(number: int) -> bytes:
    issued_at = iso(START + DAY_MS)
    return (
        f'{{"command_id": "{number}", "tenant_id": "tenant-{number}", "issued_at": "{issued_at}", "role": "OPERATOR", '
        '"kind": "PAUSE_CREATE", "days": 1}'
    ).encode()


POISON = b"\x00\x00\x00\x00\x01" + b"\x80" * 40
