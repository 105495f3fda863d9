"""Waits for a client no longer than it may take.

A broker that hangs takes connections and never answers. The client may swallow a cancellation, so whoever waits for it
goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from streams.kafka.shutdown import CLOSE_SECONDS, cancel_and_wait
from streams.log_events import log_event

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class NoAnswerError(TimeoutError):
    """A client took too long; it is best thrown away."""


async def within(seconds: float, waiting_for: Coroutine[Any, Any, Answer], what: str) -> Answer:
    """The result of a coroutine; one that takes longer is cancelled and left behind.

    Raises:
        NoAnswerError: it took too long; the message says `what`.
        Exception: what it raised.
    """
    task = asyncio.create_task(waiting_for)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        leave_behind(task)
        raise
    if not task.done():
        leave_behind(task)
        raise NoAnswerError(f"{what}: no answer within {seconds:g} s")
    if task.cancelled():  # by the client itself, which cancels more than it should where it is closed
        raise NoAnswerError(f"{what}: the client gave up")
    return task.result()


async def close_soon(closing: Coroutine[Any, Any, object]) -> None:
    """Wait for a client to close, at most `CLOSE_SECONDS`, whatever comes of it."""
    task = asyncio.create_task(closing)
    try:
        await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    finally:
        if not task.done():
            leave_behind(task)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        why = f"{type(error).__name__}: {error}"
        log.info("a client did not close cleanly: %s", why, extra=log_event("client_not_closed", why=why))


_left: set[asyncio.Task[None]] = set()


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it ends, without waiting for it."""
    leaving = asyncio.create_task(cancel_and_wait(task))
    _left.add(leaving)
    leaving.add_done_callback(_left.discard)
