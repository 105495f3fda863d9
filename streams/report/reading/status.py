"""What the reader shows of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from streams.report.model.batch import READ


class State(StrEnum):
    """What the reader does."""

    STARTING = "starting"
    STANDBY = "standby"
    CATCHING_UP = "catching_up"
    FOLLOWING = "following"
    STOPPED = "stopped"


DATABASE, KAFKA, REGISTRY = "database", "kafka", "registry"
PARTS = (DATABASE, KAFKA, REGISTRY)
"""What may fail."""


@dataclass(slots=True)
class Status:
    """The state of the reader; moments in UTC milliseconds, counts since its start.

    `current_at` is when the tables were last known to show everything that the topics held, whoever wrote them. `lag`
    has the records that wait to be read, by schema name; `stopped` says why a person has to do something, `mends` why
    the reader has to do more than read on; `failures` has the reason of what does not work now. `answered_at` is when
    the database last answered a question, and `unanswered` why the last one failed. `free_bytes` is the disk that the
    tables may still take, where that is known.
    """

    state: State = State.STARTING
    has_lease: bool = False
    current_at: int | None = None
    stopped: str | None = None
    mends: str | None = None
    failures: dict[str, str] = field(default_factory=dict)
    lag: Mapping[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=lambda: dict.fromkeys(READ, 0))
    unreadable: dict[str, int] = field(default_factory=lambda: dict.fromkeys(READ, 0))
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    written_at: int | None = None
    answered_at: int | None = None
    unanswered: str | None = None
    database_bytes: int = 0
    free_bytes: int | None = None


SILENT_MS: Final = 20_000
"""A database that has answered nothing for longer answers no page either."""
STALE_MS: Final = 60_000
"""The tables are not kept current where nothing was known of it for longer: something hangs."""


def not_ready_because(status: Status, now: int) -> str | None:
    """Why the tables are not being kept current, at a moment; None where they are, or another process does it."""
    if status.stopped is not None:
        return status.stopped
    if status.failures:
        return "; ".join(f"{part}: {why}" for part, why in sorted(status.failures.items()))
    if status.state is State.FOLLOWING and status.current_at is not None and now - status.current_at > STALE_MS:
        return f"the tables have not been known to be current for {(now - status.current_at) // 1000} seconds"
    if status.state in (State.FOLLOWING, State.STANDBY):
        return None
    return status.mends or "the topics are being read"


def not_serving_because(status: Status, now: int) -> str | None:
    """Why no page can be answered, at a moment; None where one can: also from old tables, which show their age."""
    if status.unanswered is not None:
        return status.unanswered
    if status.answered_at is None:
        return "the database has not answered yet"
    if now - status.answered_at > SILENT_MS:
        return f"the database has not answered for {(now - status.answered_at) // 1000} seconds"
    return None
