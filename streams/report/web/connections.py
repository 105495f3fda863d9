"""A connection to the HTTP server that is bounded in time and size; uvicorn's own lets a client take for ever.

A request has to come within `REQUEST_SECONDS`, its headers within `MOST_HEADER_BYTES`, and who is sent something has to
take some of it within `WRITE_SECONDS`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS: Final = 20.0
WRITE_SECONDS: Final = 60.0
MOST_HEADER_BYTES: Final = 32 << 10
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection with deadlines."""

    request_seconds = REQUEST_SECONDS
    write_seconds = WRITE_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._has_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See uvicorn; the first request is awaited from now on."""
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        self._cancel_reading()
        self._cancel_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See uvicorn; headers without end are refused before they are parsed."""
        if not self._has_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES + len(data):
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """See uvicorn; the whole request has to come in time."""
        super().on_message_begin()
        self._header_bytes, self._has_headers = 0, False
        self._await_request()

    def on_headers_complete(self) -> None:
        """See uvicorn."""
        self._has_headers = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See uvicorn."""
        self._cancel_reading()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """See uvicorn; a client that takes nothing is not waited for."""
        super().pause_writing()
        self._cancel_writing()
        self._writing = self.loop.call_later(self.write_seconds, self._give_up)

    def resume_writing(self) -> None:
        """See uvicorn."""
        self._cancel_writing()
        super().resume_writing()

    def _await_request(self) -> None:
        self._cancel_reading()
        self._reading = self.loop.call_later(self.request_seconds, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()

    def _cancel_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _cancel_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
