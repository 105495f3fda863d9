"""A schema registry that behaves as Confluent's documents say: versions, ids, compatibility, credentials; for tests."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import unquote

from streams.wire.schemas import REGISTRY_FILE, SCHEMA_DIR
from tests.support.local_server import LocalServer

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
FIRST_ID: Final = 500_001
"""Of schemas that are registered; those that ship have the ids of their file."""
Answer = tuple[int, dict[str, Any] | bytes]


class RegistryServer(LocalServer):
    """Begins with the schemas that ship, or empty; `url` is its address.

    `authorization` is the header that every request must show, None for none. `subjects` has the versions of each
    subject in order, `ids` the id of each. `shown` has the authorizations of all requests, `asked` the ids that were
    asked for, and `registered` counts how often it was given a schema. `redirects_to` sends everybody elsewhere.
    `answers` takes the place of what it says of an id; one that is None ends the connection.
    """

    def __init__(self, authorization: str | None = None, *, is_empty: bool = False) -> None:
        self.authorization = authorization
        self.subjects: dict[str, list[str]] = {}
        self.ids: dict[str, int] = {}
        self.shown: list[str | None] = []
        self.asked: list[int] = []
        self.answers: dict[int, Answer | None] = {}
        self.registered = 0
        self.redirects_to = ""
        shipped = {} if is_empty else json.loads((SCHEMA_DIR / REGISTRY_FILE).read_text(encoding="utf-8"))
        for subject, versions in shipped.items():
            for version in versions:
                self.put(subject, version["schema"], version["id"])
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Type"] != CONTENT_TYPE:
                    self._send((415, {"error_code": 415, "message": "HTTP 415 Unsupported Media Type"}))
                else:
                    self._answer(text_of(json.loads(json.loads(body)["schema"])))

            def _answer(self, schema: str | None) -> None:
                server.shown.append(self.headers["Authorization"])
                if server.redirects_to:
                    self._send((302, {}), server.redirects_to + self.path)
                elif server.authorization is not None and self.headers["Authorization"] != server.authorization:
                    self._send((401, {"error_code": 401, "message": "Unauthorized"}))
                else:
                    path = [unquote(part) for part in self.path.partition("?")[0].strip("/").split("/")]
                    self._send(server.answer(path, schema))

            def _send(self, answer: Answer | None, location: str = "") -> None:
                if answer is None:
                    return
                status, said = answer
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
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

    def put(self, subject: str, schema: dict[str, Any], schema_id: int | None = None) -> int:
        """Add a version, whatever was there before; returns its id."""
        text = text_of(schema)
        versions = self.subjects.setdefault(subject, [])
        if text not in versions:
            versions.append(text)
        return self.ids.setdefault(text, len(self.ids) + FIRST_ID if schema_id is None else schema_id)

    def answer(self, path: list[str], schema: str | None) -> Answer | None:
        """What it says to a request, whose body has a schema if it has one."""
        match path, schema:
            case ["schemas", "ids", number], None:
                self.asked.append(int(number))
                return self.answers[int(number)] if int(number) in self.answers else self.schema_answer(int(number))
            case ["subjects", subject], str(text):
                if subject not in self.subjects:
                    return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
                if text not in self.subjects[subject]:
                    return 404, {"error_code": 40403, "message": "Schema not found"}
                version = self.subjects[subject].index(text) + 1
                return 200, {"subject": subject, "id": self.ids[text], "version": version, "schema": text}
            case ["subjects", subject, "versions"], str(text):
                self.registered += 1
                versions = self.subjects.get(subject)
                if versions and text not in versions and (why := missing_defaults(versions[-1], text)):
                    return 409, {"error_code": 409, "message": f"Schema being registered is incompatible: {why}"}
                return 200, {"id": self.put(subject, json.loads(text))}
            case ["compatibility", "subjects", subject, "versions", "latest"], str(text):
                if not self.subjects.get(subject):
                    return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
                why = missing_defaults(self.subjects[subject][-1], text)
                return 200, {"is_compatible": not why, "messages": why}
        return 405, {"error_code": 405, "message": "HTTP 405 Method Not Allowed"}

    def schema_answer(self, schema_id: int) -> Answer:
        """What it has of an id."""
        found = next((text for text, one in self.ids.items() if one == schema_id), None)
        if found is None:
            return 404, {"error_code": 40403, "message": f"Schema {schema_id} not found"}
        return 200, {"schema": found}


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it is kept: the order of a JSON object makes no difference."""
    return json.dumps(schema, sort_keys=True)


def missing_defaults(before: str, after: str) -> list[str]:
    """Which fields of a record keep a reader of the new schema from values of the old one."""
    known = {field["name"] for field in json.loads(before)["fields"]}
    return [
        f"READER_FIELD_MISSING_DEFAULT_VALUE: {field['name']}"
        for field in json.loads(after)["fields"]
        if field["name"] not in known and "default" not in field
    ]
