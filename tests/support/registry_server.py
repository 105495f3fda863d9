"""A schema registry over HTTP, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from streams.wire.registry import LocalRegistry
from tests.support.local_server import LocalServer

Answer = tuple[int, bytes]


class RegistryServer(LocalServer):
    """Knows what the committed registry does; `answers` takes the place of that by schema id. Keeps the ids asked for.

    `url` is its address. An answer that is None ends the connection without one.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers: dict[int, Answer | None] = {}
        self._local = LocalRegistry()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                schema_id = int(self.path.rsplit("/", 1)[1])
                server.asked.append(schema_id)
                self._send(server.answer(schema_id))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                subject = self.path.split("/")[2]
                schema_id = server.id_of(subject, json.loads(body["schema"]))
                self._send((200, json.dumps({"id": schema_id}).encode()))

            def _send(self, answer: Answer | None) -> None:
                if answer is None:
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler)
        self.url = f"http://127.0.0.1:{self.port}"
        self.id_of: Callable[[str, dict[str, Any]], int] = self._local.id_of

    def answer(self, schema_id: int) -> Answer | None:
        """What it says of an id."""
        if schema_id in self.answers:
            return self.answers[schema_id]
        try:
            schema = self._local.schema_of(schema_id)
        except ValueError:
            return 404, json.dumps({"error_code": 40403, "message": f"Schema {schema_id} not found"}).encode()
        return 200, json.dumps({"schema": json.dumps(schema)}).encode()
