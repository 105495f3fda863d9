"""The database, asked from an event loop: each question in a reading transaction, in one of some threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, TypeVar

from sqlalchemy import Connection

from streams.database.database import Database
from streams.report.queries.cursors import ensure_key, read_key
from streams.report.web.problems import RETRY_SECONDS, Problem

Answer = TypeVar("Answer")
THREADS: Final = 4
"""More would wait for the interpreter, not for the database."""


MOST_WAITING: Final = 8
"""Questions that take long and wait for their turn."""


class ReadModel:
    """What API and page ask."""

    def __init__(self, database: Database) -> None:
        """Nothing is asked of the database yet."""
        self.database = database
        self._turn, self._waiting = asyncio.Semaphore(1), 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="report-query")

    async def ask(self, tenant: str, question: Callable[[Connection], Answer]) -> Answer:
        """The answer to a question about a tenant, or `ALL_TENANTS`, in a transaction of its own.

        Raises:
            DBAPIError: the database does not answer.
        """

        def answer() -> Answer:
            with self.database.reading(tenant) as connection:
                return question(connection)

        return await self.run(answer)

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What something gives that uses the database by itself."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def run_alone(self, work: Callable[[], Answer]) -> Answer:
        """What takes long: one at a time, so that everybody else is answered meanwhile.

        Raises:
            Problem: too many wait for their turn.
        """
        if self._waiting >= MOST_WAITING:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many questions that take long wait already", headers)
        self._waiting += 1
        try:
            async with self._turn:
                return await self.run(work)
        finally:
            self._waiting -= 1

    def cursor_key(self, connection: Connection) -> bytes:
        """The key that signs cursors; a fresh database gets one.

        Raises:
            DBAPIError: the database does not answer, or cannot write a key that is missing.
        """
        return read_key(connection) or ensure_key(self.database)

    def close(self) -> None:
        """Take no more questions."""
        self._threads.shutdown(wait=False, cancel_futures=True)
