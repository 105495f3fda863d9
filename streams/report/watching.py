"""Asks the database as API and page do, so that a process knows whether it can serve, and how old its tables are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from streams.database.database import ALL_TENANTS, Database, DatabaseError, reason_of
from streams.report.reading.status import Status
from streams.report.store.upkeep import current_at
from streams.report.web.read_model import ReadModel

ASK_SECONDS: Final = 2.0
MEASURE_SECONDS: Final = 60.0


class DatabaseWatch:
    """Notes in a status what it finds; every process does this, whichever of them reads the topics."""

    def __init__(self, database: Database, status: Callable[[], Status], clock: Callable[[], int]) -> None:
        """Nothing is asked yet; `clock` returns UTC milliseconds."""
        self._database, self._status, self._clock = database, status, clock
        self._read_model = ReadModel(database)
        self._measured_at = float("-inf")

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                await self.ask()
                await asyncio.sleep(ASK_SECONDS)
        finally:
            self._read_model.close()

    async def ask(self) -> None:
        """Ask once, and from time to time how large the tables are."""
        status = self._status()
        try:
            current = await self._read_model.ask(ALL_TENANTS, current_at)
            if time.monotonic() - self._measured_at > MEASURE_SECONDS:
                status.database_bytes = await self._read_model.run(self._database.size_bytes)
                status.free_bytes = await self._read_model.run(self._database.free_bytes)
                self._measured_at = time.monotonic()
        except (SQLAlchemyError, DatabaseError, OSError) as error:
            status.unanswered = reason_of(error)
            return
        if current is not None:
            status.current_at = current
        status.answered_at, status.unanswered = self._clock(), None
