"""The HTTP door: two questions, an answer each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from streams.edge.connections import ConnectionServer
from streams.edge.door import Door
from streams.edge.http.answers import FAILED, UNMATCHED, UNSEEN, accepted, answer_json, problem_json
from streams.edge.http.connection import REQUEST_SECONDS, Connection
from streams.edge.http.heads import KnownHeads
from streams.edge.http.openapi import document
from streams.edge.http.replies import JSON, PROBLEM, Reply
from streams.edge.http.requests import RequestError, read_client, read_message
from streams.edge.http.telemetry import HttpTelemetry
from streams.listening import Address

MAX_CONNECTIONS: Final = 1_000
IDLE_SECONDS: Final = 300.0
"""Of a connection that asks nothing, or reads no answer."""
DECIDE, DECIDE_MAIL, OPENAPI = "/v1/decide", "/v1/decide-mail", "/v1/openapi.json"


class HttpServer(ConnectionServer[Connection, HttpTelemetry]):
    """Serves HTTP clients in the running event loop."""

    def __init__(
        self,
        door: Door,
        telemetry: HttpTelemetry,
        *,
        most_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """Serve clients.

        Args:
            door: what answers.
            telemetry: what is told of connections and requests.
            most_connections: how many may be open.
            idle_seconds: a connection that asks nothing for so long is closed.
            request_seconds: how long a request may take from its first byte to its last.
        """
        super().__init__(telemetry, most_connections, idle_seconds)
        self._door, self.request_seconds = door, request_seconds
        self._answers: dict[str, Callable[[bytes], bytes]] = {
            DECIDE: self._decide,
            DECIDE_MAIL: self._decide_mail,
        }
        self._openapi = document()
        self.heads = KnownHeads()
        self._held: list[Connection] = []

    async def start(self, address: Address, mode: int = 0o660) -> None:
        """Listen; a UNIX socket gets the permissions `mode`.

        Raises:
            ListenError: it is not possible there.
        """
        loop = asyncio.get_running_loop()
        await self._serve(address, mode, lambda: Connection(self, loop))

    def hold(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """See `connection.Connections`: what came in the same turn of the event loop is stored with one commit."""
        if not self._held:
            loop.call_soon(self._send_held)
        self._held.append(connection)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        try:
            self._door.store_events()
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self.telemetry.failed("store", error)
        for connection in held:
            connection.send()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to a request."""
        answer = self._answers.get(path)
        if answer is None:
            if path == OPENAPI and method == "GET":
                return Reply(self._openapi)
            if path == OPENAPI:
                return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "must be asked with GET", allow="GET")
            return self._refuse(HTTPStatus.NOT_FOUND, f"must be one of {DECIDE}, {DECIDE_MAIL}, {OPENAPI}")
        if method != "POST":
            return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "must be asked with POST", allow="POST")
        if not _is_json(headers.get("Content-Type", "")):
            # A page in a browser on this host cannot send this type without being asked for it first.
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type: must be application/json")
        if "Content-Encoding" in headers:
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: must be left out")
        try:
            return Reply(answer(body))
        except RequestError as error:
            self.telemetry.refused(HTTPStatus.BAD_REQUEST)
            content = problem_json(HTTPStatus.BAD_REQUEST, str(error), error.errors)
            return Reply(content, HTTPStatus.BAD_REQUEST, PROBLEM)
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self.telemetry.failed("request", error)
            return Reply(accepted(FAILED))

    def _decide(self, body: bytes) -> bytes:
        client, message = read_message(body)
        connector = self._door.connector_of(client)
        if connector is None:
            return accepted(UNMATCHED)
        return answer_json(self._door.decide_message(client, connector, message))

    def _decide_mail(self, body: bytes) -> bytes:
        client = read_client(body)
        connector = self._door.connector_of(client, is_counted=False)
        if connector is None:
            return accepted(UNMATCHED)
        answer = self._door.answer_mail(client, connector)
        return accepted(UNSEEN) if answer is None else answer_json(answer)

    def _refuse(self, status: HTTPStatus, detail: str, allow: str | None = None) -> Reply:
        self.telemetry.refused(status)
        return Reply(problem_json(status, detail), status, PROBLEM, allow)


def _is_json(content_type: str) -> bool:
    return content_type == JSON or content_type.partition(";")[0].strip().lower() == JSON
