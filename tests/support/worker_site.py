"""A real worker, and its web server as a supervisor asks it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streams.domain.time import iso
from streams.operations.feeds import start_worker
from streams.settings.worker import Settings
from tests.support.feeds import make_feed
from tests.support.ports import free_port


@dataclass
class Site:
    """A worker's web server, as a supervisor asks it."""

    process: asyncio.subprocess.Process
    port: int
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and body; 0 while nothing listens."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
                text = await response.text()
                return response.status, json.loads(text) if path != "/metrics" else text
        except aiohttp.ClientError:
            return 0, None

    async def until(self, path: str, condition: Callable[[int, Any], bool]) -> Any:
        """Wait until an answer is as it should be; gives its body."""
        while not condition(*(answer := await self.get(path))):
            assert self.process.returncode is None, f"the worker ended with {self.process.returncode}"
            await asyncio.sleep(0.02)
        return answer[1]

    async def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every sample of /metrics by its name and the values of its labels."""
        _, text = await self.get("/metrics")
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@asynccontextmanager
async def a_worker(settings: Settings, **changes: Any) -> AsyncIterator[Site]:
    """A live worker whose web server is on; killed at the end if it still runs."""
    port = free_port()
    process = await start_worker(replace(settings, web_port=port, **changes), None, web_port=port)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
            yield Site(process, port, session)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def is_well(status: int, _: Any) -> bool:
    return status == 200


def live_feed(count: int) -> list[bytes]:
    """Connections of the last minutes."""
    now, lines = time.time_ns() // 1_000_000, []
    for number, line in enumerate(make_feed(41, count)):
        with suppress(json.JSONDecodeError):
            record = json.loads(line)
            lines.append(json.dumps(record | {"observed_at": iso(now - (count - number) * 10)}).encode())
    return lines
