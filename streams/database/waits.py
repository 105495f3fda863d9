"""Connections to PostgreSQL on which nothing is waited for without end.

The server ends a statement that takes too long. One that hangs does not, and its machine still answers for it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, Self
from weakref import WeakSet

import psycopg
from sqlalchemy import Engine, event

STATEMENT_SECONDS: Final = 60
"""After these the server ends a statement."""
ANSWER_SECONDS: Final = STATEMENT_SECONDS + 10.0
"""After these without the end of a statement the server is taken to hang."""
_NOT_READY: Final = 0
"""What a waiting generator is sent, several times a second, while nothing comes."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose waits end, by time or by `end_waits`; then it is closed."""

    answer_seconds = ANSWER_SECONDS
    is_ended = False

    def end_waits(self) -> None:
        """Have what waits now, and whatever would wait later, fail soon."""
        self.is_ended = True

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait as psycopg does.

        Raises:
            OperationalError: for too long, or `end_waits` was called.
        """
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, waiting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        give_up_at = time.monotonic() + self.answer_seconds
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                if ready == _NOT_READY:
                    self._check(give_up_at)
                wanted = waiting.send(ready)
        except StopIteration as end:
            return end.value

    def _check(self, give_up_at: float) -> None:
        if self.is_ended:
            self.pgconn.finish()
            raise psycopg.OperationalError("closed by this process")
        if time.monotonic() > give_up_at:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer in {self.answer_seconds:g} seconds")


class Waits:
    """The connections of some engines, so that all that is waited for on them can be ended."""

    def __init__(self) -> None:
        """Begin without connections."""
        self._connections: WeakSet[BoundedConnection] = WeakSet()
        self.answer_seconds = ANSWER_SECONDS

    def bound(self, engine: Engine) -> Self:
        """Have an engine make bounded connections."""

        @event.listens_for(engine, "do_connect")
        def _connect(_: Any, __: Any, args: Any, options: Any) -> BoundedConnection:
            connection = BoundedConnection.connect(*args, **options)
            connection.answer_seconds = self.answer_seconds
            self._connections.add(connection)
            return connection

        return self

    def end(self) -> None:
        """End what is waited for; connections that are made later work."""
        for connection in list(self._connections):
            connection.end_waits()
