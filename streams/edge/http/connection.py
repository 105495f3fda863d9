"""A connection of the HTTP door: reads requests, writes an answer to each in their order.

aiohttp parses them. Its server would make a task, a request and a response of each, which costs more than a decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from aiohttp import HttpVersion10, HttpVersion11
from aiohttp.http import HttpProcessingError, RawRequestMessage

from streams.edge.http.answers import problem_json
from streams.edge.http.heads import Head, KnownHeads
from streams.edge.http.parsing import new_parser, one_line
from streams.edge.http.replies import PROBLEM, Reply, head_of, usual_bytes
from streams.edge.http.telemetry import HttpTelemetry

MAX_BODY_BYTES: Final = 2 << 20
REQUEST_SECONDS: Final = 5.0
"""So long a request may take from its first byte to its last."""
LINGER_SECONDS: Final = 5.0
"""So long a client that was refused has to read why; what it still sends is thrown away."""
SLICE_BYTES: Final = 16 << 10
"""So much is parsed at once; between requests others get their turn then."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connections(Protocol):
    """Where connections belong to."""

    telemetry: HttpTelemetry
    request_seconds: float
    is_stopping: bool
    heads: KnownHeads

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to a request. It raises nothing."""

    def add(self, connection: Connection) -> bool:
        """A connection was opened; whether there is room for it."""

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""

    def hold(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Have `send` called once the events of all that was answered are stored."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, owner: Connections, loop: asyncio.AbstractEventLoop) -> None:
        """Answer a client that connects in this event loop."""
        self._owner, self._loop = owner, loop
        self._parser = new_parser(loop, MAX_BODY_BYTES)
        self._transport: Any = None
        self._current: tuple[RawRequestMessage, Any] | None = None
        """Whose body is still coming, which is what of it is in `_body`."""
        self._body = bytearray()
        self._waiting = b""
        """What has come and is not parsed yet."""
        self._deadline: asyncio.TimerHandle | None = None
        self._begun, self._left = b"", 0
        """A part in which a request begins that is not parsed yet; and how many bytes of the request under way are to
        come, 0 between two requests, fewer where it is not known."""
        self._behind = b""
        """What stands in that part behind the request under way, where its end is known."""
        self._unsent: list[bytes] = []
        self._end: Callable[[], None] | None = None
        """How the connection ends once what is unsent is sent."""
        self._is_over = self._is_unread = False
        self.heard_at = loop.time()
        """When something came the last time, in seconds of the loop."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._unsent and (self._is_over or (self._deadline is None and not self._waiting))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it in, or close it."""
        # uvloop's transports have the methods, and not the class.
        self._transport = cast(asyncio.Transport, transport)
        if not self._owner.add(self):
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Let it go."""
        self._is_over = True
        self._unsent.clear()
        self._watch(has_begun=False)
        self._owner.remove(self)

    def data_received(self, data: bytes) -> None:
        """Answer the requests that end in it."""
        self.heard_at = self._loop.time()
        if self._is_over:
            return
        if self._waiting or self._is_unread:
            self._waiting += data
        elif self._left or (head := self._owner.heads.find(data)) is None:
            self._take(data)
        else:
            self._respond(head, data)

    def pause_writing(self) -> None:
        """Read nothing of who does not read his answers."""
        self._is_unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with who does."""
        self._is_unread = False
        self._go_on()

    def close_if_done(self) -> None:
        """Close the connection unless its client waits for an answer."""
        if self.is_idle:
            self.close()

    def close(self) -> None:
        """Close the connection once what was answered is sent."""
        self._is_over = True
        self._watch(has_begun=False)
        self._finish(self._transport.close)

    def abort(self) -> None:
        """Close the connection now."""
        self._is_over = True
        self._unsent.clear()
        self._transport.abort()

    def send(self) -> None:
        """Send what was answered; its events are stored."""
        unsent, self._unsent = self._unsent, []
        if not unsent or self._transport.is_closing():
            return
        self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))
        if self._end is not None:
            self._end()
        elif self._owner.is_stopping:
            self.close_if_done()

    def _write(self, data: bytes) -> None:
        if not self._unsent:
            self._owner.hold(self, self._loop)
        self._unsent.append(data)

    def _finish(self, end: Callable[[], None]) -> None:
        self._end = end
        if not self._unsent:
            end()

    def _go_on(self) -> None:
        if self._is_unread or self._transport.is_closing():
            return
        data, self._waiting = self._waiting, b""
        if data and not self._is_over:
            self._take(data)
        if not self._waiting and not self._is_unread and not self._transport.is_closing():
            self._transport.resume_reading()

    def _respond(self, head: Head, data: bytes) -> None:
        """Answer a request that begins and ends with what came, and whose head the parser has taken before."""
        try:
            reply = self._owner.respond(head.method, head.path, head.headers, data[head.size :])
            is_last = self._owner.is_stopping
            if not is_last and reply.status is HTTPStatus.OK:
                self._write(usual_bytes(reply.content))
                return
            self._write(head_of(reply, is_last=is_last, is_first_version=False) + reply.content)
            if is_last:
                self.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, others are served
            self._owner.telemetry.failed("connection", error)
            self.abort()

    def _take(self, data: bytes) -> None:
        try:
            while data and not self._is_over:
                part, data = data[:SLICE_BYTES], data[SLICE_BYTES:]
                if self._parse(part) and data and not self._is_over:
                    self._waiting = data
                    self._transport.pause_reading()
                    self._loop.call_soon(self._go_on)
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is, others are served
            self._owner.telemetry.failed("connection", error)
            self.abort()

    def _parse(self, part: bytes) -> bool:
        """Answer each request that ends in a part of what came; returns whether one does."""
        is_first = True
        self._begun = b"" if self._left else part
        self._behind = part[self._left :] if self._left > 0 else b""
        self._left = self._left - len(part) if self._left > 0 else -1
        try:
            # The parser stops behind each request, so that what is wrong with the next one takes none along.
            while self._has_end(self._parser.feed_data(part if is_first else b"")) and not self._is_over:
                self._parser.message_consumed()
                is_first = False
                self._begun, self._behind = self._behind, b""
        except HttpProcessingError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"must be HTTP/1.1: {one_line(error.message)}")
            return True
        if not self._is_over:
            left = part if is_first else self._begun
            has_begun = self._current is not None or bool(left and not left.isspace())
            self._watch(is_new=not is_first, has_begun=has_begun)
        return not is_first

    def _has_end(self, parsed: tuple[Sequence[tuple[RawRequestMessage, Any]], bool, bytes]) -> bool:
        """Whether a request ended in what was parsed; it is answered then."""
        messages, is_upgraded, _ = parsed
        if self._current is not None:
            has_end = self._proceed(*self._current)
        elif not messages:
            has_end = False
        else:
            message, body = messages[0]
            if self._begun:
                size = self._owner.heads.learn(self._begun, message)
                self._left = size - len(self._begun)
                self._begun, self._behind = b"", self._begun[size:] if size else b""
            if has_end := body.is_eof():
                self._answer(message, body.read_nowait())
            else:
                has_end = self._begin(message, body)
        if is_upgraded and not self._is_over:
            self.close()
        return has_end

    def _begin(self, message: RawRequestMessage, body: Any) -> bool:
        """A request whose body is still coming; returns whether it is refused."""
        headers = message.headers
        if int(headers.get("Content-Length", "0")) > MAX_BODY_BYTES:
            self._refuse_size()
            return True
        if headers.get("Expect", "").lower() == "100-continue" and message.version >= HttpVersion11:
            self._write(_CONTINUE)
        self._current = message, body
        return self._proceed(message, body)

    def _proceed(self, message: RawRequestMessage, body: Any) -> bool:
        """More of a body may have come; returns whether its request is answered or refused."""
        self._body += body.read_nowait()
        if len(self._body) > MAX_BODY_BYTES:
            self._refuse_size()
            return True
        if not body.is_eof():
            return False
        content = bytes(self._body)
        self._current = None
        self._body.clear()
        self._answer(message, content)
        return True

    def _answer(self, message: RawRequestMessage, body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            self._refuse_size()
            return
        reply = self._owner.respond(message.method, message.path, message.headers, body)
        is_last = message.should_close or message.upgrade or self._owner.is_stopping
        if not is_last and reply.status is HTTPStatus.OK and message.version == HttpVersion11:
            # Nearly every answer.
            self._write(usual_bytes(reply.content))
            return
        head = head_of(reply, is_last=is_last, is_first_version=message.version == HttpVersion10)
        self._write(head if message.method == "HEAD" else head + reply.content)
        if is_last:
            self.close()

    def _refuse_size(self) -> None:
        self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"must have at most {MAX_BODY_BYTES} bytes")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer a request of which more may come, and read no other."""
        if self._transport.is_closing():
            return
        self._owner.telemetry.refused(status)
        reply = Reply(problem_json(status, detail), status, PROBLEM)
        self._is_over = True
        self._current = None
        self._body.clear()
        self._watch(has_begun=False)
        self._write(head_of(reply, is_last=True, is_first_version=False) + reply.content)
        # A socket that is closed with something unread in it may take the answer along.
        self._finish(self._transport.write_eof)
        self._deadline = self._loop.call_later(LINGER_SECONDS, self.abort)

    def _watch(self, *, has_begun: bool, is_new: bool = False) -> None:
        """Let a request that has begun end in time; `is_new`: another one than before."""
        if self._deadline is not None and (is_new or not has_begun):
            self._deadline.cancel()
            self._deadline = None
        if has_begun and self._deadline is None:
            self._deadline = self._loop.call_later(self._owner.request_seconds, self._be_late)

    def _be_late(self) -> None:
        self._deadline = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"must be sent within {self._owner.request_seconds:g} seconds")
