"""The milter's sockets: on both loops, for MTAs that hang, vanish, send rubbish or do not read."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from streams.edge.milter.server import MilterServer
from tests.support.door import Doorway, standing_verdict
from tests.support.milter import MilterTold, connect, frame, frames_of, greeting, message, offer
from tests.support.places import Place, unix
from tests.support.waiting import until_true

HOST = "mx1.example.com"
RUNNERS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]
on_both_loops = pytest.mark.parametrize("run", RUNNERS, ids=["asyncio", "uvloop"])


class Served:
    """A milter that serves, and what it told."""

    def __init__(self, place: Place, **options: Any) -> None:
        self.doorway, self.told, self.place = Doorway(), MilterTold(), place
        self.doorway.verdicts.put(standing_verdict(HOST))
        self.server = MilterServer(self.doorway.door, self.told, **options)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.place.path is None:
            return await asyncio.open_connection(self.place.host, self.server.port)
        return await asyncio.open_unix_connection(self.place.path)

    async def ended(self, count: int) -> None:
        """Wait until so many connections are closed."""

        async def all_closed() -> bool:
            return self.told.closed_count == count and not self.server.connections

        await until_true(all_closed)


@contextlib.asynccontextmanager
async def serving(place: Place, **options: Any) -> AsyncIterator[Served]:
    served = Served(place, **options)
    await served.server.start(place, 0o666)
    try:
        yield served
    finally:
        await served.server.stop(0)


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    content = await reader.readexactly(length)
    return chr(content[0]), content[1:]


@on_both_loops
@pytest.mark.parametrize("is_unix", [True, False])
def test_an_mta_is_served(run: Callable[..., None], tmp_path: Path, is_unix: bool) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock") if is_unix else Place()) as served:
            reader, writer = await served.open()
            writer.write(b"".join([offer(), connect(), greeting(), *message(), frame(b"A"), frame(b"Q")]))
            found = frames_of(await reader.read())
            assert "".join(command for command, _ in found) == "Occccy"
            assert found[-1] == ("y", b"550 5.7.230 no\0")
            await served.ended(1)
            assert (served.told.opened_count, served.told.errors) == (1, [])
            writer.close()
        assert list(tmp_path.iterdir()) == []

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"EHLO mx.example.com\r\n", "a frame of 1162366031 bytes: must be 1 to 1048576"),
        (b"GET / HTTP/1.1\r\n\r\n", "a frame of 1195725856 bytes: must be 1 to 1048576"),
        (b"\0\0\0\0", "a frame of 0 bytes: must be 1 to 1048576"),
        (frame(b"N"), "command N: out of order"),
        (offer() + frame(b"C", b"x"), "a connection without a family"),
        (offer()[:9], "the connection ended within a frame"),
        (offer() + connect() + struct.pack(">I", 1 << 20) + b"L", "the connection ended within a frame"),
    ],
)
def test_what_is_no_protocol_ends_its_connection_and_nobody_elses(
    run: Callable[..., None], tmp_path: Path, sent: bytes, reason: str
) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock")) as served:
            good_reader, good_writer = await served.open()
            good_writer.write(offer())
            assert (await answer(good_reader))[0] == "O"
            reader, writer = await served.open()
            writer.write(sent)
            writer.write_eof()
            await reader.read()
            await served_reason(served, reason)
            good_writer.write(connect())
            assert await answer(good_reader) == ("c", b"")
            good_writer.close()
            writer.close()

    async def served_reason(served: Served, wanted: str) -> None:
        async def is_said() -> bool:
            return served.told.errors == [wanted]

        await until_true(is_said)

    run(main())


@on_both_loops
def test_a_connection_that_says_nothing_is_closed(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock"), idle_seconds=0.2) as served:
            reader, writer = await served.open()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await served.ended(1)
            writer.close()

    run(main())


@on_both_loops
def test_more_connections_than_there_is_room_for_are_turned_away(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock"), most_connections=2) as served:
            kept = [await served.open() for _ in range(2)]
            for reader, writer in kept:
                writer.write(offer())
                assert (await answer(reader))[0] == "O"
            reader, writer = await served.open()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert (served.told.opened_count, served.told.turned_away_count) == (2, 1)
            for _, kept_writer in [*kept, (reader, writer)]:
                kept_writer.close()
            await served.ended(2)

    run(main())


@on_both_loops
def test_who_does_not_read_is_not_read(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock")) as served:
            reader, writer = await served.open()
            writer.write(offer(6, 0, 0) + connect())
            chunk = frame(b"U", b"NOOP\0") * 10_000
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 1_000:
                    writer.write(chunk)
                    await asyncio.wait_for(writer.drain(), 1)
                    sent += 1
            assert sent < 1_000
            assert (await answer(reader))[0] == "O"
            writer.transport.abort()
            await served.ended(1)

    run(main())


@on_both_loops
def test_a_stop_waits_for_the_messages_that_are_under_way(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock")) as served:
            idle_reader, idle_writer = await served.open()
            busy_reader, busy_writer = await served.open()
            idle_writer.write(offer() + connect())
            busy_writer.write(b"".join([offer(), connect(), *message()[:-1]]))
            for reader, count in ((idle_reader, 2), (busy_reader, 4)):
                for _ in range(count):
                    await answer(reader)
            stopping = asyncio.create_task(served.server.stop(60))
            assert await idle_reader.read() == b""
            with pytest.raises(OSError, match=r"No such file|Connection refused"):
                await served.open()
            assert not stopping.done()
            busy_writer.write(frame(b"N"))
            assert await answer(busy_reader) == ("y", b"550 5.7.230 no\0")
            assert await busy_reader.read() == b""
            await stopping
            for writer in (idle_writer, busy_writer):
                writer.close()

    run(main())


@on_both_loops
def test_a_stop_does_not_wait_for_ever(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "milter.sock")) as served:
            reader, writer = await served.open()
            writer.write(b"".join([offer(), connect(), *message()[:-1]]))
            for _ in range(4):
                await answer(reader)
            await served.server.stop(0.1)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await served.ended(1)
            writer.close()

    run(main())
