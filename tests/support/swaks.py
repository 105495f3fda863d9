"""swaks, a client that people really use."""

from __future__ import annotations

import subprocess
import tempfile
from typing import NamedTuple

from tests.support.mail import RECIPIENT, SENDER

REFUSED_AT_MAIL, REFUSED_AT_END = 23, 26
"""Its exit codes."""
_REPLY_MARKS = ("<-  ", "<** ", "<~  ", "<~* ")


class Sent(NamedTuple):
    """How it ended, and all lines of reply but the one to QUIT."""

    code: int
    replies: list[str]

    @property
    def reply(self) -> str:
        """The one that decided about the message."""
        return self.replies[-1]


def swaks(port: int, message: bytes, *options: str, helo: str) -> Sent:
    """Send a message to a port of this machine."""
    with tempfile.NamedTemporaryFile(prefix="tes-swaks-") as file:
        file.write(message.replace(b"\r\n", b"\n"))
        file.flush()
        command = ("swaks", "--server", f"127.0.0.1:{port}", "--ehlo", helo, "--from", SENDER, "--to", RECIPIENT)
        done = subprocess.run(
            [*command, "--hide-informational", "--hide-send", *options, "--data", f"@{file.name}"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    replies = [line[4:] for line in done.stdout.splitlines() if line.startswith(_REPLY_MARKS)]
    assert replies, done.stdout + done.stderr
    return Sent(done.returncode, replies[:-1] if replies[-1].startswith("221") else replies)
