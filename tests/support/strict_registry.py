"""A schema registry that behaves as Confluent's documents say: versions, ids, compatibility, credentials; for tests."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import unquote

from tests.support.local_server import LocalServer

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
Answer = tuple[int, dict[str, Any]]


class StrictRegistry(LocalServer):
    """Begins empty. `authorization` is the header that every request must show, None for none.

    `subjects` has the schemas of each subject in order, `ids` the id of each schema, `shown` the authorizations of all
    requests. `redirects_to` sends everybody elsewhere.
    """

    def __init__(self, authorization: str | None = None) -> None:
        self.authorization = authorization
        self.subjects: dict[str, list[str]] = {}
        self.ids: dict[str, int] = {}
        self.shown: list[str | None] = []
        self.redirects_to = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Type"] != CONTENT_TYPE:
                    self._send(415, {"error_code": 415, "message": "HTTP 415 Unsupported Media Type"})
                else:
                    self._answer(json.loads(body)["schema"])

            def _answer(self, schema: str | None) -> None:
                server.shown.append(self.headers["Authorization"])
                if server.redirects_to:
                    self._send(302, {}, server.redirects_to + self.path)
                elif server.authorization is not None and self.headers["Authorization"] != server.authorization:
                    self._send(401, {"error_code": 401, "message": "Unauthorized"})
                else:
                    path = [unquote(part) for part in self.path.partition("?")[0].strip("/").split("/")]
                    self._send(*server.answer(path, schema))

            def _send(self, status: int, answer: dict[str, Any], location: str = "") -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler)
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, path: list[str], schema: str | None) -> Answer:
        """What it says to a request, whose body has a schema if it has one."""
        match path, schema:
            case ["schemas", "ids", number], None:
                found = next((text for text, schema_id in self.ids.items() if str(schema_id) == number), None)
                return (
                    (404, {"error_code": 40403, "message": "Schema not found"})
                    if found is None
                    else (200, {"schema": found})
                )
            case ["subjects", subject], str(text):
                if subject not in self.subjects:
                    return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
                if text not in self.subjects[subject]:
                    return 404, {"error_code": 40403, "message": "Schema not found"}
                version = self.subjects[subject].index(text) + 1
                return 200, {"subject": subject, "id": self.ids[text], "version": version, "schema": text}
            case ["subjects", subject, "versions"], str(text):
                versions = self.subjects.setdefault(subject, [])
                if versions and (why := missing_defaults(versions[-1], text)):
                    return 409, {"error_code": 409, "message": f"Schema being registered is incompatible: {why}"}
                if text not in versions:
                    versions.append(text)
                return 200, {"id": self.ids.setdefault(text, len(self.ids) + 100_001)}
            case ["compatibility", "subjects", subject, "versions", "latest"], str(text):
                if not self.subjects.get(subject):
                    return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
                why = missing_defaults(self.subjects[subject][-1], text)
                return 200, {"is_compatible": not why, "messages": why}
        return 405, {"error_code": 405, "message": "HTTP 405 Method Not Allowed"}


def missing_defaults(before: str, after: str) -> list[str]:
    """Which fields of a record keep a reader of the new schema from values of the old one."""
    known = {field["name"] for field in json.loads(before)["fields"]}
    return [
        f"READER_FIELD_MISSING_DEFAULT_VALUE: {field['name']}"
        for field in json.loads(after)["fields"]
        if field["name"] not in known and "default" not in field
    ]
