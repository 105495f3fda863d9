"""The ledger of notices, asked from an event loop.

It may be missing, slow or away: it has threads of its own, so that nothing else of the report waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from streams.database.database import Database
from streams.notices.readiness import has_begun, has_file, is_unmade
from streams.report.web.problems import Problem

Answer = TypeVar("Answer")
THREADS: Final = 2


class NoLedgerError(Problem):
    """Nobody has ever sent notices here."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "notices are not set up here: the operator has to run tes notify on the report's database",
        )


class Ledger:
    """Destinations, subscriptions, and what became of notices."""

    def __init__(self, database: Database) -> None:
        """Nothing is asked of the database yet."""
        self._database = database
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="report-ledger")

    async def ask(self, tenant: str, question: Callable[[Connection], Answer]) -> Answer:
        """The answer to a question about a tenant, or `ALL_TENANTS`, in a reading transaction of its own.

        Raises:
            NoLedgerError: there is none.
            DBAPIError: the database does not answer.
        """
        return await self._run(lambda database: database.reading(tenant), question)

    async def change(self, tenant: str, change: Callable[[Connection], Answer]) -> Answer:
        """What a change of rows of a tenant, or of `ALL_TENANTS`, gives; in a writing transaction of its own.

        Raises:
            NoLedgerError: there is none.
            DBAPIError: the database does not answer, or cannot write.
        """
        return await self._run(lambda database: database.writing(tenant), change)

    async def _run(
        self,
        transaction: Callable[[Database], AbstractContextManager[Connection]],
        work: Callable[[Connection], Answer],
    ) -> Answer:
        def worked() -> Answer:
            if not has_file(self._database):
                raise NoLedgerError
            try:
                with transaction(self._database) as connection:
                    if not has_begun(connection):
                        raise NoLedgerError
                    return work(connection)
            except DBAPIError as error:
                if is_unmade(error):
                    raise NoLedgerError from None
                raise

        return await asyncio.get_running_loop().run_in_executor(self._threads, worked)

    def close(self) -> None:
        """Take no more questions."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._database.close()
