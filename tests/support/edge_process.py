"""A real process of an edge, asked over its web server and its HTTP door."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import free_port

SECONDS = 60.0


@dataclass
class EdgeSite:
    """A process with its folder; `log` is what it has written so far."""

    process: asyncio.subprocess.Process
    folder: Path
    web_port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and body of the web server; 0 while nothing listens."""
        try:
            url = f"http://127.0.0.1:{self.web_port}{path}"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                text = await response.text()
                return response.status, json.loads(text) if path != "/metrics" else text
        except aiohttp.ClientError:
            return 0, None

    async def until(self, path: str, condition: Callable[[int, Any], bool]) -> Any:
        """Wait until an answer is as it should be; gives its body."""
        async with asyncio.timeout(SECONDS):
            while not condition(*(answer := await self.get(path))):
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)
        return answer[1]

    async def ask(self, body: dict[str, Any], path: str = "/v1/decide") -> Any:
        """The answer of the HTTP door."""
        connecting = aiohttp.UnixConnector(str(self.folder / "http.sock"))
        async with (
            aiohttp.ClientSession(connector=connecting) as session,
            session.post(f"http://edge{path}", json=body) as answer,
        ):
            return await answer.json()

    async def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """The exit code, once there is one."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def edge_site(folder: Path, *words: str, **settings: str) -> AsyncIterator[EdgeSite]:
    """Run `tes edge WORDS` with its files in a folder."""
    port, log_file = free_port(), folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
    environment |= {
        "TES_EDGE_DIR": str(folder),
        "TES_EDGE_HTTP": f"unix:{folder}/http.sock",
        "TES_EDGE_MILTER": f"unix:{folder}/milter.sock",
        "TES_EDGE_DOOR_PORT": str(port if "sync" not in words else 0),
        "TES_EDGE_SYNC_PORT": str(port if "sync" in words else 0),
        "TES_EDGE_HOST": "edge1",
        **settings,
    }
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "edge", *words), env=environment, stderr=log
        )
        try:
            yield EdgeSite(process, folder, port, log_file)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
