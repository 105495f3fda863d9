"""A schema registry that keeps whoever asks it waiting."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from streams.wire.registry import LocalRegistry, RegistryError
from streams.wire.schemas import Schema

PATIENCE_SECONDS: Final = 20.0


class HangingRegistry(LocalRegistry):
    """Does not answer until it may, or until it loses patience; says when it is asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.is_asked, self.may_answer = asyncio.Event(), threading.Event()
        self.is_hanging = False
        self._loop = loop

    def schema_of(self, schema_id: int) -> Schema:
        self.is_hanging = True
        self._loop.call_soon_threadsafe(self.is_asked.set)
        self.may_answer.wait(PATIENCE_SECONDS)
        self.is_hanging = False
        raise RegistryError(f"schema id {schema_id}: made up")
