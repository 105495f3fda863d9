"""A worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from streams.domain.time import iso
from streams.settings.worker import Settings
from tests.chaos.process import Process, launch

EXIT_FAILED = 70
READY = "worker ready: "
"""In the log once signals are handled; before that, SIGTERM ends the interpreter."""


class Worker(Process):
    """A worker with its settings."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path, settings: Settings) -> None:
        super().__init__(process, log_file)
        self.settings = settings

    @classmethod
    async def start(
        cls, settings: Settings, until_ms: int | None, log_file: Path, environment: Mapping[str, str]
    ) -> Self:
        """Start a worker; `until_ms` makes it a replay, which ends; `environment` comes on top of this process's."""
        variables = settings.environment() | {"TES_WEB_PORT": "0", **environment}
        variables |= {"TES_REPLAY_UNTIL": iso(until_ms)} if until_ms is not None else {}
        return cls(await launch(("-m", "streams.cli.main", "worker"), log_file, variables), log_file, settings)
