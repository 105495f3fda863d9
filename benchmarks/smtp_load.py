"""A load of mail: connections that send messages one after the other, and how long each transaction takes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

SENDER, RECIPIENT = "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.net>\r\n"
HEADER_LINES, BODY_BYTES = 26, 6_500
ACCEPTED, REFUSED_LATER, REFUSED = 250, 450, 550


@dataclass
class Sent:
    """What was answered: seconds of each transaction from MAIL to its last answer, and how many had which code."""

    seconds: list[float] = field(default_factory=list)
    codes: dict[int, int] = field(default_factory=dict)
    took: float = 0.0

    @property
    def per_second(self) -> float:
        """Transactions a second over all connections."""
        return len(self.seconds) / self.took

    def quantile(self, share: float) -> float:
        """Seconds that this share of the transactions took at most."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def message_of(server: str, build: str) -> bytes:
    """About 9 KB with 28 header lines, the first of them the stamp of an Exchange server."""
    stamp = (
        f"Received: from {server} (10.0.0.5) by {server}\r\n (10.0.0.5) with Microsoft SMTP Server (version=TLS1_2,\r\n"
        f" cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384_P256) id {build}; Tue, 24 Nov\r\n 2026 04:00:00 +0000\r\n"
    )
    lines = [f"X-Line-{number}: {'v' * 60}" for number in range(HEADER_LINES)]
    head = "\r\n".join(["From: a@example.com", "Message-ID: <m@example.com>", *lines])
    body = "\r\n".join(["b" * 70] * (BODY_BYTES // 72))
    return f"{stamp}{head}\r\n\r\n{body}\r\n.\r\n".encode()


async def _connection(port: int, helo: str, messages: int, data: bytes, sent: Sent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def answer() -> int:
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionError("closed by the MTA")
            if line[3:4] != b"-":
                return int(line[:3])

    async def ask(command: bytes) -> int:
        writer.write(command)
        return await answer()

    await answer()
    await ask(f"EHLO {helo}\r\n".encode())
    for _ in range(messages):
        began = time.perf_counter()
        code = await ask(SENDER.encode())
        if code == ACCEPTED:
            await ask(RECIPIENT.encode())
            await ask(b"DATA\r\n")
            code = await ask(data)
        sent.seconds.append(time.perf_counter() - began)
        sent.codes[code] = sent.codes.get(code, 0) + 1
    writer.write(b"QUIT\r\n")
    writer.close()


async def send_load(
    port: int, helo: str, build: str, *, connections: int = 8, messages: int = 150, per_connection: int = 10
) -> Sent:
    """Send over some connections at once, each opened anew after `per_connection` messages.

    Raises:
        OSError: the MTA does not answer.
    """
    sent, data = Sent(), message_of(helo, build)

    async def lane() -> None:
        for begin in range(0, messages, per_connection):
            await _connection(port, helo, min(per_connection, messages - begin), data, sent)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(connections)))
    sent.took = time.perf_counter() - began
    return sent
