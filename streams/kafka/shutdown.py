"""Stops tasks and closes clients reliably, whatever state they are in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from streams.log_events import log_event

log = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0
"""How long a client may take to close; its broker may be gone."""
CANCEL_SECONDS = 0.5
"""After this a task that is still there is cancelled again."""


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for it; its result or error is ignored.

    The Kafka client swallows a cancellation that reaches it while it cancels tasks of its own, so once is not enough.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_SECONDS)


async def close_with_timeout(closing: Awaitable[Any]) -> None:
    """Wait for a client to close, with a timeout: anything it has not sent by then belongs to the next owner."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except Exception as error:  # noqa: BLE001 - whatever fails, the next owner takes over
        why = f"{type(error).__name__}: {error}"
        log.info("a client did not close cleanly: %s", why, extra=log_event("client_not_closed", why=why))
