"""What is written down of a run: messages with their answers, and what could be known of verdicts at each moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAIL, MESSAGE = "mail", "message"


class Sent(NamedTuple):
    """A message, with moments in UTC milliseconds, and spans in seconds.

    `moment` is when it was answered, at MAIL or at the end of its headers, and None where it was not. `reply` is the
    line that refused it; None accepts. `stalled` is how long the sender itself stood still meanwhile, `more` how many
    frames came behind the answer, `why` what ended the connection instead.
    """

    queue_id: str
    key: str
    sent_at: int
    answered_at: int
    moment: str | None = None
    reply: str | None = None
    waited: float = 0.0
    stalled: float = 0.0
    more: int = 0
    why: str = ""

    def line(self) -> str:
        """As a line of the log."""
        return json.dumps(self) + "\n"


class Written(NamedTuple):
    """A verdict that was written, or a deletion: its record is None.

    `at` is before it could be read, `seen_at` when it was first seen on the edge's disk; None for never.
    """

    key: str
    revision: int
    record: dict[str, Any] | None
    at: int
    seen_at: int | None = None


class Sample(NamedTuple):
    """What was on the edge's disk from one look to another; nothing where it could not be read."""

    began: int
    ended: int
    confirmed_at: int | None
    revisions: dict[str, int]


class Span(NamedTuple):
    """A time, both ends in UTC milliseconds."""

    begin: int
    end: int

    def meets(self, begin: int, end: int) -> bool:
        """Whether it has a moment with another one in common."""
        return self.begin <= end and begin <= self.end


def message_id(queue_id: str) -> str:
    """The `Message-ID` of a message, by which its event is found."""
    return f"<{queue_id}@chaos.example>"


def queue_id_of(text: str | None) -> str:
    """The queue id in a `Message-ID`."""
    return (text or "").removeprefix("<").partition("@")[0]


def read_log(path: Path) -> list[Sent]:
    """The messages of a log; the last line may be cut."""
    return [Sent(*row) for row in _rows(path.read_text().splitlines(keepends=True))]


def _rows(lines: Iterable[str]) -> Iterator[list[Any]]:
    return (json.loads(line) for line in lines if line.endswith("\n"))
