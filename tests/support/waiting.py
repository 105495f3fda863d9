"""Waits for a condition, and the offsets that a group has committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from streams.settings.worker import Settings

PATIENCE_SECONDS = 100.0
"""Enough where several workers start at once on a machine busy with much else; a test may have a lower limit."""


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def committed(settings: Settings) -> int:
    """How many connections the group has committed."""
    return sum(await committed_offsets(settings))


async def committed_offsets(settings: Settings) -> list[int]:
    """The group's offset of each partition that has one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        return [row.offset for row in (await admin.list_consumer_group_offsets(settings.app_id)).values()]
    except GroupCoordinatorNotAvailableError:
        return []
    finally:
        await admin.close()
