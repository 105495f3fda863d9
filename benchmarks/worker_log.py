"""What a worker says of itself in a log of JSON lines."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

RESTORED = "partition_restored"
"""The event of a partition that is ready: its state is there, and reading begins."""


def events_of(text: str, name: str) -> list[dict[str, Any]]:
    """The lines of an event; other lines may stand between them."""
    return [json.loads(line) for line in text.splitlines() if f'"{name}"' in line and line.startswith("{")]


def logged(log: Path, name: str) -> list[dict[str, Any]]:
    """The lines of an event in a worker's log."""
    return events_of(log.read_text(errors="replace"), name)


def is_restored(log: Path, partitions: int) -> bool:
    """Whether a worker has all its partitions ready."""
    return len(logged(log, RESTORED)) == partitions


def moment(line: dict[str, Any]) -> float:
    """When a line was written, seconds since 1970."""
    return datetime.fromisoformat(line["ts"]).timestamp()
