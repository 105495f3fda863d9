"""The HTTP server, in the event loop of its process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import uvicorn

from streams.report.web.connections import BoundedProtocol

STOP_SECONDS: Final = 10
"""How long requests that have begun may take at the end."""
IDLE_SECONDS: Final = 20
MOST_CONNECTIONS: Final = 1_000


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: it ends the reader as well."""
        yield


class WebServer:
    """Serves an application until it is stopped."""

    def __init__(self, application: Any) -> None:
        """Nothing is served yet."""
        config = uvicorn.Config(
            application,
            http=BoundedProtocol,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            limit_concurrency=MOST_CONNECTIONS,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Serve at an address; port 0 stands for any that is free.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
        self.port = int(listening.getsockname()[1])
        self._serving = asyncio.create_task(self._server.serve([listening]))

    async def stop(self) -> None:
        """End what is served."""
        if self._serving is None:
            return
        self._server.should_exit = True
        with suppress(asyncio.CancelledError):
            await self._serving
