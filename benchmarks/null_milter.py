"""A milter that does nothing, on the product's own protocol and sockets: `python -m benchmarks.null_milter SOCKET`."""

from __future__ import annotations

import asyncio
import sys
from typing import NamedTuple

import uvloop

from streams.edge.client import ACCEPTED, Answer, Client, Connector, Message
from streams.edge.milter.server import MilterServer
from streams.edge.milter.telemetry import MilterTelemetry


class _Place(NamedTuple):
    path: str
    host: str = ""
    port: int = 0


class _Silent(MilterTelemetry):
    def opened(self) -> None:
        pass

    def closed(self) -> None:
        pass

    def turned_away(self) -> None:
        pass

    def protocol_error(self, error: str) -> None:
        pass

    def unattributed(self, error: str) -> None:
        pass

    def failed(self, where: str, error: Exception) -> None:
        pass


class _NullDoor:
    """Looks at every message as the door does, and decides nothing."""

    adds_header = False

    def connector_of(self, client: Client, *, is_counted: bool = True) -> Connector | None:
        return Connector("t", "c")

    def answer_mail(self, client: Client, connector: Connector) -> Answer | None:
        return None

    def answer_message(self, client: Client, connector: Connector, message: Message) -> Answer:
        return ACCEPTED


async def _serve(path: str) -> None:
    await MilterServer(_NullDoor(), _Silent()).start(_Place(path), 0o666)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
