"""A schema registry over HTTP, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from streams.wire.registry import LocalRegistry
from streams.wire.schemas import SUBJECTS
from tests.support.local_server import LocalServer

Answer = tuple[int, bytes]


class RegistryServer(LocalServer):
    """Knows what the committed registry does; `answers` takes the place of that by schema id. Keeps the ids asked for.

    `url` is its address. An answer that is None ends the connection without one. `forgotten` are ids of schemas that it
    does not find, `registered` counts how often it was given one.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers: dict[int, Answer | None] = {}
        self.forgotten: set[int] = set()
        self.registered = 0
        self._local = LocalRegistry()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                schema_id = int(self.path.rsplit("/", 1)[1])
                server.asked.append(schema_id)
                self._send(server.answer(schema_id))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                # A subject begins with the topics' prefix, of which the committed registry knows nothing.
                named, schema = unquote(self.path.split("/")[2]), json.loads(body["schema"])
                subject = next((one for one in SUBJECTS.values() if named.endswith(one)), named)
                if self.path.endswith("/versions"):
                    server.registered += 1
                    self._send((200, json.dumps({"id": server.id_of(subject, schema)}).encode()))
                else:
                    self._send(server.known(subject, schema))

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

    def known(self, subject: str, schema: dict[str, Any]) -> Answer:
        """What it says when it is asked whether it has a schema."""
        known = self._local.known_id_of(subject, schema)
        if known is None or known in self.forgotten:
            return 404, json.dumps({"error_code": 40403, "message": "Schema not found"}).encode()
        return 200, json.dumps({"subject": subject, "id": known}).encode()

    def answer(self, schema_id: int) -> Answer | None:
        """What it says of an id."""
        if schema_id in self.answers:
            return self.answers[schema_id]
        try:
            schema = self._local.schema_of(schema_id)
        except ValueError:
            return 404, json.dumps({"error_code": 40403, "message": f"Schema {schema_id} not found"}).encode()
        return 200, json.dumps({"schema": json.dumps(schema)}).encode()
