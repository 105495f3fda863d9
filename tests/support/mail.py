"""Mail that Exchange servers would send, and clients that send it as few do."""

from __future__ import annotations

import smtplib
from typing import Self

HOST, OLD, GOOD = "mx1.example.com", "15.1.2507.39", "15.1.2507.61"
SENDER, RECIPIENT = "a@example.com", "b@inbox.example"
SECONDS = 60


def mail_of(
    build: str | None = OLD,
    host: str = HOST,
    *,
    before: str = "",
    subject: str = "t",
    message_id: str = "<1@example.com>",
) -> bytes:
    """A message whose topmost line shows a build, folded as Exchange does it; without a build there is no such line."""
    line = (
        f"Received: from {host} (192.0.2.1) by {host}\r\n (192.0.2.1) with Microsoft SMTP Server (version=TLS1_2,\r\n"
        f" cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384_P256) id {build}; Tue, 24 Nov\r\n 2026 04:00:00 +0000\r\n"
    )
    stamp = "" if build is None else line
    head = (
        f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nMessage-ID: {message_id}\r\nSubject: {subject}\r\n"
        "Date: Tue, 24 Nov 2026 04:00:00 +0000\r\n"
    )
    return f"{before}{stamp}{head}\r\nbody\r\n".encode()


class Client(smtplib.SMTP):
    """A client of a port of this machine that has said its greeting."""

    def __init__(self, port: int, name: str = HOST, host: str = "127.0.0.1") -> None:
        super().__init__(host, port, local_hostname=name, timeout=SECONDS)
        self.ehlo()

    def give(self, command: str) -> str:
        """Send a line; returns the reply in one line."""
        return _line(self.docmd(command))

    def send_mail(self, message: bytes | None = None, *recipients: str, sender: str = SENDER) -> str:
        """The reply to the first command of a message that is not accepted, or to its end."""
        for command in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{name}>" for name in recipients or (RECIPIENT,))):
            reply = self.give(command)
            if reply[0] != "2":
                return reply
        return self.finish(mail_of() if message is None else message)

    def finish(self, message: bytes) -> str:
        """Send a message whose recipients are taken; returns the reply to its end."""
        return _line(self.data(message))

    def reply(self) -> str:
        """The next reply, in one line."""
        return _line(self.getreply())

    def send_chunks(self, *chunks: bytes) -> list[str]:
        """The replies to each chunk of a message by BDAT."""
        replies = []
        for number, chunk in enumerate(chunks, 1):
            self.putcmd(f"BDAT {len(chunk)}{' LAST' if number == len(chunks) else ''}")
            self.send(chunk)
            replies.append(self.reply())
        return replies

    def send_at_once(self, *commands: bytes) -> list[str]:
        """Send it all, of which the last is QUIT; returns all lines of reply until the server closes."""
        assert self.sock is not None
        self.send(b"".join(commands))
        with self.sock.makefile("rb") as replies:
            lines = [line.decode(errors="replace").rstrip("\r\n") for line in replies]
        self.close()
        return lines

    def __enter__(self) -> Self:
        super().__enter__()
        return self


def _line(reply: tuple[int, bytes]) -> str:
    code, text = reply
    return f"{code} {text.decode(errors='replace')}"


def pipelined(port: int, *commands: bytes) -> list[str]:
    """Send everything behind the greeting at once; returns all lines of reply to it until the server closes."""
    with Client(port) as client:
        return client.send_at_once(*commands)
