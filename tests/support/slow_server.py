"""An HTTP server whose answers take their time, or have no end worth waiting for."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.local_server import LocalServer


@dataclass(frozen=True)
class SlowAnswer:
    """`head`, then `part` again and again, with a pause before each, then `rest`; the whole is a sound answer."""

    head: bytes
    part: bytes
    times: int
    rest: bytes = b""
    pause_seconds: float = 0.0


class SlowServer(LocalServer):
    """Gives every request one answer, with TLS where it has a certificate; stops sending when it is left."""

    def __init__(self, answer: SlowAnswer, certificate: Path | None = None) -> None:
        self._ended = ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                # Who has enough closes the connection.
                with suppress(OSError):
                    while self.rfile.readline().strip():
                        pass
                    self.wfile.write(answer.head)
                    for _ in range(answer.times):
                        if ended.wait(answer.pause_seconds):
                            return
                        self.wfile.write(answer.part)
                    self.wfile.write(answer.rest)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __exit__(self, *words: object) -> None:
        self._ended.set()
        super().__exit__(*words)
