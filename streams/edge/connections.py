"""The connections of a door's server: bounded in number, closed when idle, let go in order at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from streams.listening import Address, ConnectionTelemetry, Listener, listen

SWEEPS: Final = 20
"""How often idle connections are looked for in the time that they may be idle."""
STOP_SECONDS: Final = 5.0


class ServedConnection(Protocol):
    """What a connection is to its server."""

    heard_at: float
    """When something came the last time, in seconds of the loop."""

    def close_if_done(self) -> None:
        """Close it unless its client waits for an answer."""

    def abort(self) -> None:
        """Close it now."""


Served = TypeVar("Served", bound=ServedConnection)
Telemetry = TypeVar("Telemetry", bound=ConnectionTelemetry)


class ConnectionServer(Generic[Served, Telemetry]):
    """Serves connections in the running event loop; a door's server says of what kind they are."""

    def __init__(self, telemetry: Telemetry, most_connections: int, idle_seconds: float) -> None:
        """Serve at most so many connections; one that says nothing for so long is closed."""
        self.telemetry = telemetry
        self._most, self._idle_seconds = most_connections, idle_seconds
        self.connections: set[Served] = set()
        self._listener: Listener | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._is_empty = asyncio.Event()
        self.is_stopping = False

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        assert self._listener is not None
        return self._listener.port

    async def _serve(self, address: Address, mode: int, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Listen; `protocol` makes the protocol of each connection.

        Raises:
            ListenError: it is not possible there.
        """
        self._listener = listen(address, mode)
        await self._listener.serve(protocol)
        self._close_idle()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Listen no more, wait so long for the answers that are under way, and close every connection."""
        self.is_stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.close_if_done()
        if self.connections:
            try:
                await asyncio.wait_for(self._is_empty.wait(), seconds)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()

    def add(self, connection: Served) -> bool:
        """A connection was opened; whether there is room for it."""
        if self.is_stopping or len(self.connections) >= self._most:
            self.telemetry.turned_away()
            return False
        self.connections.add(connection)
        self._is_empty.clear()
        self.telemetry.opened()
        return True

    def remove(self, connection: Served) -> None:
        """A connection has ended."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.telemetry.closed()
        if not self.connections:
            self._is_empty.set()

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_seconds
        for connection in list(self.connections):
            if connection.heard_at < oldest:
                connection.abort()
        self._sweep = loop.call_later(self._idle_seconds / SWEEPS, self._close_idle)
