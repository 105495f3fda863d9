"""Stops a worker with a stalled partition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.engine.faust.app import BatchApp


class StalledError(RuntimeError):
    """A partition has work but makes no progress."""


async def run_watchdog(app: BatchApp, stall_seconds: float, beat: Callable[[], None]) -> None:
    """Stop the worker when a partition has work but makes no progress for `stall_seconds`.

    A consumer whose coordinator or leader came back may hang forever without an error; a new worker does not.
    `beat` is called at every check, whether the broker responds or not.
    """
    moved: dict[int, tuple[Any, float]] = {}
    while not app.should_stop:
        beat()
        await app.sleep(stall_seconds / 10)
        ends = app.ends = await _ends(app, stall_seconds)
        now = asyncio.get_running_loop().time()
        for partition, writer in list(app.writers.items()):
            position = app.batch_consumer.position_and_end(partition)
            at = (app.generation, writer.commits, writer.restored, position[0] if position else None)
            end = ends.get(partition, 0) if ends is not None else 1
            has_work = writer.is_busy or position is None or position[0] < end
            if moved.get(partition, (None, 0.0))[0] != at or not has_work:
                moved[partition] = (at, now)
            elif now - moved[partition][1] > stall_seconds:
                lag = f"position {position}, end {end}, {'records taken' if writer.is_busy else 'nothing taken'}"
                return app.fail(StalledError(f"{app.source}-{partition}: no progress: {lag}"))
    return None


async def _ends(app: BatchApp, seconds: float) -> dict[int, int] | None:
    tps = [TP(app.source, partition) for partition in app.writers]
    try:
        async with asyncio.timeout(seconds):
            found = await app.consumer.highwaters(*tps) if tps else {}
    except (TimeoutError, KafkaError):
        return None
    return {tp.partition: end for tp, end in found.items()}
