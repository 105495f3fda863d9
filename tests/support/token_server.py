"""An HTTPS endpoint that gives tokens for client credentials, for tests."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.support.local_server import LocalServer

Answer = tuple[int, dict[str, str], bytes]


def unsigned_token(subject: str, seconds: float = 600.0) -> str:
    """A token without a signature, which Kafka takes where it is told nothing else."""
    now = time.time()
    claims = {"sub": subject, "iat": now, "exp": now + seconds}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


class TokenServer(LocalServer):
    """Answers each request with `answer`; keeps what it was asked: path, header `Authorization`, form."""

    def __init__(self, certificate: Path, answer: Callable[[], Answer]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answer = answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                server.asked.append((self.path, self.headers["Authorization"], dict(parse_qsl(form))))
                status, headers, body = server.answer()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.port}/token"


def tokens(*given: dict[str, Any]) -> Callable[[], Answer]:
    """Answers of 200 with these contents one after the other, the last one for ever."""
    left = list(given)

    def answer() -> Answer:
        return 200, {}, json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()

    return answer
