"""A value that is fetched from elsewhere: once for all who ask, kept while fetching fails, not asked for in a storm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from streams.log_events import log_event

log = logging.getLogger(__name__)

Value = TypeVar("Value")
RETRY_SECONDS: Final = 5.0
"""After a failed fetch, before the next one."""


class FetchError(Exception):
    """The provider does not answer, or not as it must; the message says what it was asked and why that failed."""


class Fetched(Generic[Value]):
    """Fetches a value when it is first asked for, and again when it has become old.

    A failed fetch changes nothing but the time of the next one. All who wait share one fetch, which goes on if one of
    them gives up.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Value]],
        clock: Callable[[], float],
        fresh_seconds: float,
        stale_seconds: float,
    ) -> None:
        """Nothing is fetched yet.

        Args:
            fetch: raises `FetchError`.
            clock: seconds that never go back.
            fresh_seconds: the age from which on it is fetched again, while the old value is still given.
            stale_seconds: the age from which on the old value is not given any more.
        """
        self._fetch, self._clock = fetch, clock
        self._fresh_seconds, self._stale_seconds = fresh_seconds, stale_seconds
        self._value: Value | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None

    async def get(self) -> Value:
        """The value.

        Raises:
            FetchError: there is none, or only one that is too old.
        """
        if self._age() >= self._fresh_seconds and (self._fetching or self._is_due(RETRY_SECONDS)):
            fetching = self._begin()
            if self._usable() is None:
                await asyncio.shield(fetching)
        value = self._usable()
        if value is None:
            raise FetchError(self._failure)
        return value

    async def renew(self, cool_down_seconds: float) -> bool:
        """Fetch again, unless it was tried within the cool-down; returns whether the value is a new one."""
        if self._fetching is None and not self._is_due(cool_down_seconds):
            return False
        await asyncio.shield(self._begin())
        return not self._failure

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _is_due(self, seconds: float) -> bool:
        return self._clock() - self._tried_at >= seconds

    def _usable(self) -> Value | None:
        return self._value if self._age() < self._stale_seconds else None

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._run())
        return self._fetching

    async def _run(self) -> None:
        try:
            self._value = await self._fetch()
        except FetchError as error:
            self._failure = str(error)
            log.warning(
                "the sign-in provider failed: %s",
                error,
                extra=log_event("report_provider_failed", why=self._failure, keeps_old=self._usable() is not None),
            )
        else:
            self._fetched_at, self._failure = self._clock(), ""
        finally:
            self._fetching = None
