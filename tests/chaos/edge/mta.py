"""An MTA under load, as a program of its own: speaks the milter protocol, and logs what it sent and was answered.

It ends in order at SIGTERM. Its own stalls are measured, so that a busy machine is not taken for a slow door.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import IO, Any

from streams.edge.milter.codec import FrameReader
from tests.chaos.edge.log import MAIL, MESSAGE, Sent, message_id
from tests.chaos.edge.population import Sender, senders
from tests.support.milter import frame, macros, offer, strings

CONNECTIONS = 8
MESSAGES_A_CONNECTION = 5
"""More than three, so that a client is known well enough to be answered at MAIL."""
TICK_SECONDS = 0.02
SETTLE_SECONDS = 3 * TICK_SECONDS
GIVE_UP_SECONDS = 30.0
"""An MTA accepts after two; the log is to tell how long it was."""


class GoneError(Exception):
    """The door closed the connection, or is not there."""


def now_ms() -> int:
    """Now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000


class Line:
    """One connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._frames = reader, writer, FrameReader()
        self.waiting: list[tuple[int, bytes]] = []

    def send(self, *frames: bytes) -> None:
        """Send frames."""
        self._writer.write(b"".join(frames))

    async def answer(self) -> tuple[int, bytes]:
        """The next frame.

        Raises:
            GoneError: the connection ended.
            TimeoutError: none came for long.
        """
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not self.waiting:
                try:
                    data = await self._reader.read(1 << 16)
                except OSError as error:
                    raise GoneError(str(error)) from None
                if not data:
                    raise GoneError("closed")
                self.waiting += self._frames.feed(data)
        return self.waiting.pop(0)

    async def expect(self, *verbs: bytes) -> None:
        """Take the frames that come before anything is decided.

        Raises:
            GoneError: another one came.
        """
        for verb in verbs:
            command, content = await self.answer()
            if command != verb[0]:
                raise GoneError(f"answered {chr(command)} {content[:80]!r}, must be {verb.decode()}")

    def close(self) -> None:
        """End it."""
        self._writer.close()


class Mta:
    """Sends at a pace over some connections, each of one client with a few messages."""

    def __init__(self, socket: str, per_second: float, seed: str, log: IO[str]) -> None:
        self._socket, self._per_second, self._log = socket, per_second, log
        self._chance = Random(seed)
        self._prefix, self._number = f"{self._chance.getrandbits(32):08X}", 0
        self._turns: asyncio.Queue[tuple[Sender, int] | None] = asyncio.Queue()
        self._late = 0.0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Send until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        measuring = asyncio.create_task(self._measure())
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._serve())
            await self._pace()
        measuring.cancel()

    async def _pace(self) -> None:
        begun, count = time.monotonic(), 0
        order = senders()
        self._chance.shuffle(order)
        for sender in cycle(order):
            if self._stopping.is_set():
                break
            messages = self._chance.randint(1, MESSAGES_A_CONNECTION)
            # What would wait because the door does is not sent: an MTA's clients come later, not all at once.
            if self._turns.qsize() < CONNECTIONS:
                self._turns.put_nowait((sender, messages))
            count += messages
            await asyncio.sleep(max(0.0, begun + count / self._per_second - time.monotonic()))
        for _ in range(CONNECTIONS):
            self._turns.put_nowait(None)

    async def _measure(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self._late += time.monotonic() - before - TICK_SECONDS

    async def _serve(self) -> None:
        while (turn := await self._turns.get()) is not None:
            sender, messages = turn
            line = None
            began = now_ms()
            try:
                line = await self._connect(sender)
                for _ in range(messages):
                    await self._message(line, sender)
                line.send(frame(b"Q"))
            except (GoneError, TimeoutError, OSError) as error:
                if line is None:  # what fails later is noted with its message
                    self._note(Sent(self._queue_id(), sender.key, began, now_ms(), why=f"connecting: {error!r}"))
            finally:
                if line is not None:
                    line.close()

    async def _connect(self, sender: Sender) -> Line:
        line = Line(*await asyncio.open_unix_connection(self._socket))
        try:
            name = sender.server.encode()
            line.send(
                offer(), frame(b"C", name + b"\x004\x30\x39" + sender.address.encode() + b"\0"), strings(b"H", name)
            )
            await line.expect(b"O", b"c", b"c")
        except BaseException:
            line.close()
            raise
        return line

    async def _message(self, line: Line, sender: Sender) -> None:
        """Send one message, and note what became of it.

        Raises:
            GoneError: the connection is of no more use.
        """
        queue_id, sent_at, began, late = self._queue_id(), now_ms(), time.monotonic(), self._late
        moment, reply, why = None, None, ""
        try:
            line.send(
                macros(b"M", {b"{tes_tenant}": sender.tenant.encode(), b"{tes_connector}": b"c1"}),
                strings(b"M", b"<a@example.com>"),
            )
            command, content = await line.answer()
            if command == b"c"[0]:
                line.send(
                    strings(b"R", b"<b@example.com>"),
                    strings(b"L", b"Received", sender.line.encode()),
                    strings(b"L", b"Message-ID", message_id(queue_id).encode()),
                    macros(b"N", {b"i": queue_id.encode()}),
                    frame(b"N"),
                )
                await line.expect(b"c")
                command, content = await line.answer()
                moment = MESSAGE
            else:
                moment = MAIL
            reply = reply_of(command, content)
        except (GoneError, TimeoutError, OSError) as error:
            moment, why = None, repr(error)
        answered_at, waited = now_ms(), time.monotonic() - began
        if waited > SETTLE_SECONDS:
            await asyncio.sleep(SETTLE_SECONDS)  # so that a stall of this program is in what it measured
        more = len(line.waiting)
        self._note(
            Sent(queue_id, sender.key, sent_at, answered_at, moment, reply, waited, self._late - late, more, why)
        )
        if why:
            raise GoneError(why)

    def _queue_id(self) -> str:
        self._number += 1
        return f"{self._prefix}{self._number:06d}"

    def _note(self, sent: Sent) -> None:
        self._log.write(sent.line())


def reply_of(command: int, content: bytes) -> str | None:
    """The line of a refusal; None for an acceptance.

    Raises:
        GoneError: it is neither.
    """
    if command == b"a"[0]:
        return None
    if command == b"y"[0] and content.endswith(b"\0"):
        return content[:-1].decode("ascii", "replace").replace("%%", "%")
    raise GoneError(f"answered {chr(command)} {content[:80]!r}")


def main(arguments: Sequence[str]) -> int:
    """Send what a file describes."""
    given: dict[str, Any] = json.loads(Path(arguments[0]).read_text())
    with Path(given["log"]).open("a", buffering=1) as log:
        asyncio.run(Mta(given["socket"], given["per_second"], given["seed"], log).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
