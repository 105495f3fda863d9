"""Connections of the HTTP door: on both loops, for clients that send in pieces, hang, vanish or do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import uvloop

from streams.edge.http.connection import MAX_BODY_BYTES, SLICE_BYTES
from streams.edge.http.server import HttpServer
from streams.edge.ports import SpooledEvent
from tests.support.door import Doorway, standing_verdict
from tests.support.http_door import HttpTold
from tests.support.places import Place, unix
from tests.support.waiting import until_true

HOST = "mx1.example.com"
LINE = f"from a by {HOST} (192.0.2.1) with Microsoft SMTP Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"
BODY = json.dumps({"source_ip": "192.0.2.1", "helo": HOST, "received": [LINE]}).encode()
RUNNERS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]
on_both_loops = pytest.mark.parametrize("run", RUNNERS, ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]
BLOCKED = (200, "BLOCKED")


class Served:
    """A door that serves and blocks `HOST`, and what it told."""

    def __init__(self, place: Place, **options: Any) -> None:
        self.doorway, self.told, self.place = Doorway(), HttpTold(), place
        self.doorway.verdicts.put(standing_verdict(HOST))
        self.server = HttpServer(self.doorway.door, self.told, **options)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.place.path is None:
            return await asyncio.open_connection(self.place.host, self.server.port)
        return await asyncio.open_unix_connection(self.place.path)

    async def ended(self) -> None:
        """Wait until every connection is closed."""

        async def all_closed() -> bool:
            return not self.server.connections

        await until_true(all_closed)


@contextlib.asynccontextmanager
async def serving(place: Place | None = None, **options: Any) -> AsyncIterator[Served]:
    served = Served(place or Place(), **options)
    await served.server.start(served.place, 0o666)
    try:
        yield served
    finally:
        await served.server.stop(0)


def request(*fields: str, body: bytes = BODY, method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} /v1/decide HTTP/{version}", "Host: edge", "Content-Type: application/json", *fields]
    if not any(field.startswith(("Content-Length", "Transfer-Encoding")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def head(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(b"\r\n\r\n")).lower()


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status of the next answer, and its cause, or what is wrong with the request."""
    found = await head(reader)
    content = json.loads(await reader.readexactly(int(re.findall(rb"content-length: ([0-9]+)", found)[0])))
    return int(found.split()[1]), content.get("cause") or content["detail"]


@on_both_loops
@pytest.mark.parametrize("is_unix", [True, False])
def test_requests_in_pieces_are_answered_as_whole_ones(run: Run, tmp_path: Path, is_unix: bool) -> None:
    async def main() -> None:
        async with serving(unix(tmp_path / "edge.sock") if is_unix else None) as served:
            reader, writer = await served.open()
            whole = request() * 2
            for begin in range(0, len(whole), 7):
                writer.write(whole[begin : begin + 7])
                await asyncio.sleep(0)
            assert [await answer(reader) for _ in range(2)] == [BLOCKED] * 2
            assert len(served.doorway.told) == 2
            writer.close()
            await served.ended()

    run(main())


@on_both_loops
def test_requests_that_do_not_wait_for_answers_are_answered_in_their_order(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            count = 5 * SLICE_BYTES // len(request())
            queue_ids = [f"Q{number}" for number in range(count)]
            bodies = [json.dumps(json.loads(BODY) | {"queue_id": name}).encode() for name in queue_ids]
            writer.write(b"".join(request(body=body) for body in bodies))
            ids = []
            for _ in range(count):
                found = await head(reader)
                length = int(re.findall(rb"content-length: ([0-9]+)", found)[0])
                ids.append(json.loads(await reader.readexactly(length))["event_id"])
            assert ids == [event.event_id for event in served.doorway.told]
            assert len(set(ids)) == count
            writer.close()

    run(main())


@on_both_loops
def test_a_client_that_asks_much_does_not_keep_others_waiting(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            _, greedy = await served.open()
            reader, writer = await served.open()
            greedy.write(request() * 400)
            await asyncio.sleep(0)
            writer.write(request())
            assert await answer(reader) == BLOCKED
            assert len(served.doorway.told) < 401
            greedy.close()
            writer.close()

    run(main())


@on_both_loops
def test_a_client_that_does_not_read_is_not_read_either_and_closed_at_last(run: Run) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.5) as served:
            _, writer = await served.open()
            count = 40_000
            for _ in range(400):
                writer.write(request() * (count // 400))
            await served.ended()
            assert 0 < len(served.doorway.told) < count
            writer.transport.abort()

    run(main())


@on_both_loops
@pytest.mark.parametrize("size", [1, 3, 4096])
def test_a_body_may_come_in_chunks(run: Run, size: int) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            pieces = [BODY[begin : begin + size] for begin in range(0, len(BODY), size)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            asked = request("Transfer-Encoding: chunked", body=chunks)
            writer.write(asked + asked[:200])
            assert await answer(reader) == BLOCKED
            writer.write(asked[200:])
            assert await answer(reader) == BLOCKED
            writer.close()

    run(main())


@on_both_loops
@pytest.mark.parametrize("is_said", [True, False])
def test_a_body_beyond_the_bound_is_refused_without_reading_it_all(run: Run, is_said: bool) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            if is_said:
                writer.write(request(f"Content-Length: {1 << 40}", "Expect: 100-continue", body=b""))
            else:
                writer.write(request("Transfer-Encoding: chunked", body=b""))
                writer.write((b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))) * (MAX_BODY_BYTES // (1 << 16) + 1))
            assert await answer(reader) == (413, f"must have at most {MAX_BODY_BYTES} bytes")
            assert await reader.read() == b""
            assert served.told.statuses == [413]
            writer.close()
            await served.ended()

    run(main())


@on_both_loops
def test_a_body_of_the_size_of_the_bound_is_read(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request(body=BODY + b" " * (MAX_BODY_BYTES - len(BODY))) + request())
            assert [await answer(reader) for _ in range(2)] == [BLOCKED] * 2
            writer.close()

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    "begun", [b"P", request()[:40], request()[:-1], request("Transfer-Encoding: chunked", body=b"5")]
)
def test_a_request_that_does_not_end_is_refused_in_time(run: Run, begun: bytes) -> None:
    async def main() -> None:
        async with serving(request_seconds=0.1) as served:
            reader, writer = await served.open()
            writer.write(request())
            assert await answer(reader) == BLOCKED
            writer.write(begun)
            assert await answer(reader) == (408, "must be sent within 0.1 seconds")
            assert await reader.read() == b""
            writer.close()
            await served.ended()
            assert (served.told.statuses, served.told.failures) == ([HTTPStatus.REQUEST_TIMEOUT], [])

    run(main())


@on_both_loops
@pytest.mark.parametrize("before", [request(), request() + request(), request() * 3 + b"\r\n"])
@pytest.mark.parametrize(("begun", "is_begun"), [(b"POST /v1/dec", True), (b"\r\n", False), (b"", False)])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_request_that_begins_behind_others_has_to_end_in_time(
    run: Run, before: bytes, begun: bytes, *, is_begun: bool, in_pieces: bool
) -> None:
    async def main() -> None:
        async with serving() as served:

            async def is_under_way() -> bool:
                return any(not connection.is_idle for connection in served.server.connections)

            reader, writer = await served.open()
            rest = before
            if in_pieces:  # the body of the first one has not ended yet
                size = len(request()) - 20
                writer.write(before[:size])
                await until_true(is_under_way)
                rest = before[size:]
            writer.write(rest + begun)
            for _ in range(before.count(b"POST")):
                assert await answer(reader) == BLOCKED
            assert await is_under_way() == is_begun
            writer.close()

    run(main())


@on_both_loops
def test_a_client_that_asks_nothing_is_closed(run: Run) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.2, request_seconds=0.05) as served:
            reader, writer = await served.open()
            writer.write(request() + b"\r\n")  # as some old clients end a body
            assert await answer(reader) == BLOCKED
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert served.told.statuses == []
            writer.close()

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    "wrong",
    [
        b"EHLO mx1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/decide HTTP/1.1\r\n\r\n",
        request("Content-Length: 5", "Content-Length: 6", body=b""),
        request("Content-Length: x", body=b""),
        request("Content-Length: -1", body=b""),
        request("Content-Length: 5", "Transfer-Encoding: chunked", body=b""),
        request("Transfer-Encoding: chunked", body=b"x\r\n"),
        request("X: " + "x" * 10_000),
        request(*(f"X{number}: x" for number in range(200))),
        b"POST /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: edge\r\n\r\n",
        request("X: a\0b"),
    ],
)
def test_what_is_no_http_is_refused_behind_the_answers_to_what_was(run: Run, wrong: bytes) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request() + wrong + request())
            assert await answer(reader) == BLOCKED
            status, detail = await answer(reader)
            assert (status, detail[:17]) == (400, "must be HTTP/1.1:")
            assert detail.isprintable()
            assert await reader.read() == b""
            assert served.told.statuses == [400]
            writer.close()
            await served.ended()
            assert len(served.doorway.told) == 1

    run(main())


@on_both_loops
def test_what_comes_in_one_turn_is_stored_with_one_commit_and_answered_behind_it(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            commits: list[int] = []
            spool = served.doorway.spool
            store = spool.append_all
            clients = [await served.open() for _ in range(5)]

            def count(events: Sequence[SpooledEvent]) -> Sequence[SpooledEvent]:
                commits.append(len(events))
                assert all(connection._unsent for connection in served.server._held[: len(events)])
                return store(events)

            spool.append_all = count  # type: ignore[method-assign]
            for connection in list(served.server.connections):
                connection.data_received(request())
                connection.data_received(request())
            assert len(spool.events) == 0
            for reader, writer in clients:
                assert [await answer(reader) for _ in range(2)] == [BLOCKED] * 2
                writer.close()
            assert commits == [10]

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    "before",
    [b"", request(), request("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), request()[:300]],
    ids=["nothing", "a request", "a request in chunks", "half a request"],
)
def test_a_request_within_another_is_not_taken_for_one(run: Run, before: bytes) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            for _ in range(2):
                writer.write(request())
                assert await answer(reader) == BLOCKED
            begun = b"POST /v1/none HTTP/1.1\r\nX: "
            if before == request()[:300]:
                begun = request()[300:] + begun
                writer.write(before)
                await asyncio.sleep(0.01)
            else:
                begun = before + begun
            told = len(served.doorway.told)
            writer.write(begun)
            await asyncio.sleep(0.01)  # the next is to come by itself; where it does not, nothing is tried here
            if before:
                assert (await answer(reader))[0] in (200, 400)
                assert len(served.doorway.told) <= told + 1
            told = len(served.doorway.told)
            writer.write(request())
            assert (await answer(reader))[0] == 404
            writer.write(request())
            assert await answer(reader) == BLOCKED
            assert len(served.doorway.told) == told + 1
            writer.close()

    run(main())


@on_both_loops
def test_a_request_that_comes_in_two_parts_leaves_the_next_one_known(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            for cut in (len(request()), 300, 40, len(request())):
                writer.write(request()[:cut])
                await asyncio.sleep(0.01)
                writer.write(request()[cut:])
                assert await answer(reader) == BLOCKED
            assert len(served.doorway.told) == 4
            writer.close()

    run(main())


@on_both_loops
def test_a_head_is_answered_without_a_body(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request(method="HEAD", body=b"") + request())
            found = await head(reader)
            assert found.startswith(b"http/1.1 405 ")
            assert b"allow: post\r\n" in found
            assert await answer(reader) == BLOCKED
            writer.close()

    run(main())


@on_both_loops
@pytest.mark.parametrize("asked", [request("Connection: keep-alive", version="1.0"), request()])
def test_a_connection_stays_for_who_wants_it(run: Run, asked: bytes) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            for _ in range(3):
                writer.write(asked)
                found = await head(reader)
                assert (b"connection: keep-alive" in found) == (b"HTTP/1.0" in asked)
                await reader.readexactly(int(re.findall(rb"content-length: ([0-9]+)", found)[0]))
            writer.close()

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    "asked",
    [
        request("Connection: close"),
        request(version="1.0"),
        request(version="1.0").replace(b"Host: edge\r\n", b""),
        request("Connection: upgrade", "Upgrade: websocket"),
        request("Connection: upgrade", "Upgrade: h2c"),
    ],
)
def test_a_connection_ends_for_who_does_not(run: Run, asked: bytes) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(asked + b"x" * 100)
            assert b"\r\nconnection: close\r\n" in await head(reader)
            assert json.loads(await reader.read())["cause"] == "BLOCKED"
            writer.close()
            assert (served.told.statuses, served.told.failures) == ([], [])

    run(main())


@on_both_loops
def test_a_tunnel_is_refused(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(b"CONNECT mx1.example.com:25 HTTP/1.1\r\nHost: mx1.example.com\r\n\r\nEHLO x\r\n")
            assert b"connection: close" in await head(reader)
            await reader.read()
            writer.close()
            assert served.told.failures == []

    run(main())


@on_both_loops
def test_a_client_that_has_said_all_gets_its_answer(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request())
            writer.write_eof()
            assert await answer(reader) == BLOCKED
            assert await reader.read() == b""
            writer.close()

    run(main())


@on_both_loops
def test_a_body_that_is_encoded_is_refused(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request("Content-Encoding: gzip") + request())
            assert await answer(reader) == (415, "Content-Encoding: must be left out")
            assert await answer(reader) == BLOCKED
            writer.close()

    run(main())


@on_both_loops
def test_stopping_answers_what_is_under_way_and_closes_the_rest(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            idle, idle_writer = await served.open()
            reader, writer = await served.open()
            writer.write(request()[:-5])
            idle_writer.write(request())
            assert await answer(idle) == BLOCKED

            async def has_begun() -> bool:
                return any(not connection.is_idle for connection in served.server.connections)

            await until_true(has_begun)
            stopping = asyncio.create_task(served.server.stop(60))
            assert await idle.read() == b""
            writer.write(request()[-5:] + request())
            assert b"\r\nconnection: close\r\n" in await head(reader)
            assert json.loads(await reader.read())["cause"] == "BLOCKED"
            await stopping
            idle_writer.close()
            writer.close()
            assert len(served.doorway.told) == 2

    run(main())


@on_both_loops
def test_stopping_waits_no_longer_than_it_may(run: Run) -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            writer.write(request()[:-5])

            async def has_begun() -> bool:
                return any(not connection.is_idle for connection in served.server.connections)

            await until_true(has_begun)
            await served.server.stop(0.05)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    run(main())


def test_a_fault_within_a_connection_ends_that_one_only() -> None:
    async def main() -> None:
        async with serving() as served:
            reader, writer = await served.open()
            served.server.respond = None  # type: ignore[method-assign, assignment]
            writer.write(request())
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert [where for where, _ in served.told.failures] == ["connection"]
            del served.server.respond
            reader, writer = await served.open()
            writer.write(request())
            assert await answer(reader) == BLOCKED
            writer.close()

    asyncio.run(main())
