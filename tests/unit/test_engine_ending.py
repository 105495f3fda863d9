"""A task ends even when what it waits for swallows the cancellation."""

from __future__ import annotations

import asyncio

from streams.kafka.shutdown import cancel_and_wait


def test_a_task_that_swallows_its_first_cancellation_ends() -> None:
    swallowed = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            swallowed.append(1)
        await asyncio.sleep(3600)

    async def scenario() -> None:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await cancel_and_wait(task)
        assert task.cancelled()

    asyncio.run(scenario())
    assert swallowed == [1]
