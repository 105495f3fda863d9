"""The sockets of the milter: reads what MTAs send, writes what the session answers."""

from __future__ import annotations

import asyncio
import resource
from typing import Final, cast

from streams.edge.connections import ConnectionServer
from streams.edge.milter.codec import FrameReader, ProtocolError
from streams.edge.milter.session import Session
from streams.edge.milter.telemetry import MilterTelemetry
from streams.edge.ports import MailDoor
from streams.listening import Address

IDLE_SECONDS: Final = 3600.0
"""Of a connection that says nothing. An MTA says nothing while a slow client sends the message itself, and a message
whose connection is closed meanwhile is let in; so this is longer than an MTA waits for its clients."""
MAX_CONNECTIONS: Final = 10_000
SPARE_FILES: Final = 100
"""Descriptors that are left for everything else."""


class MilterServer(ConnectionServer["_Connection", MilterTelemetry]):
    """Serves MTAs in the running event loop."""

    def __init__(
        self,
        door: MailDoor,
        telemetry: MilterTelemetry,
        *,
        most_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Serve MTAs.

        Args:
            door: what answers.
            telemetry: what is told of connections.
            most_connections: how many may be open; the process's limit of open files bounds them too.
            idle_seconds: a connection that says nothing for so long is closed.
        """
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        super().__init__(telemetry, min(most_connections, max(1, files - SPARE_FILES)), idle_seconds)
        self._door = door

    async def start(self, address: Address, mode: int = 0o660) -> None:
        """Listen; a UNIX socket gets the permissions `mode`.

        Raises:
            ListenError: it is not possible there.
        """
        await self._serve(address, mode, lambda: _Connection(self, Session(self._door, self.telemetry)))


class _Connection(asyncio.Protocol):
    """One connection of an MTA."""

    def __init__(self, server: MilterServer, session: Session) -> None:
        self._server, self._session = server, session
        self._reader = FrameReader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.heard_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, and not the class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if not self._server.add(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        transport, session = self._transport, self._session
        assert transport is not None
        answers: list[bytes] = []
        try:
            for command, content in self._reader.feed(data):
                if answer := session.receive(command, content):
                    answers.append(answer)
                if session.is_finished:
                    break
        except ProtocolError as error:
            self._server.telemetry.protocol_error(str(error))
            session.is_finished = True
        if answers:
            transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        if session.is_finished:
            transport.close()
        elif self._server.is_stopping:
            self.close_if_done()

    def connection_lost(self, error: Exception | None) -> None:
        if self._reader.is_within_frame and not self._session.is_finished:
            self._server.telemetry.protocol_error("the connection ended within a frame")
        self._server.remove(self)

    def pause_writing(self) -> None:
        # Who does not read his answers is not read either.
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def close_if_done(self) -> None:
        """Close the connection unless its MTA waits for the answer to a message."""
        if not self._session.is_in_message:
            assert self._transport is not None
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        assert self._transport is not None
        self._transport.abort()
