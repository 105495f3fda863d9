"""What the process shows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streams.notices.model import DestinationKind, OutcomeKind
from streams.notify.bounces.reports import ReportKind


class State(StrEnum):
    """What the intake does."""

    STARTING = "starting"
    STANDBY = "standby"
    CATCHING_UP = "catching_up"
    FOLLOWING = "following"
    STOPPED = "stopped"


DATABASE, KAFKA, REGISTRY, CONTACTS = "database", "kafka", "registry", "contacts"
PARTS = (DATABASE, KAFKA, REGISTRY, CONTACTS)
"""What may fail."""


@dataclass(slots=True)
class Ledger:
    """What the ledger holds, counted from time to time.

    `waiting` are open deliveries by kind of destination, `parked` destinations by kind. `overdue` are critical ones
    that should have gone more than an hour ago, `untold_tenants` those with a notice of the last days that nobody was
    told.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    parked: Mapping[str, int] = field(default_factory=dict)
    overdue: int = 0
    untold_tenants: int = 0


@dataclass(slots=True)
class Status:
    """The state of the process; moments in UTC milliseconds, counts since its start.

    `current_at` is when the topic was last known to be read to its end; `lag` has the offsets that are not read yet.
    `stopped` says why a person has to do something; `failures` has the reason of what does not work now. `away` has the
    reason, by kind of destination, why nobody can be reached that way. `answered_at` is when the database last
    answered. `stray_bounces` came back to addresses that are nobody's.
    """

    state: State = State.STARTING
    has_lease: bool = False
    stopped: str | None = None
    current_at: int | None = None
    lag: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    away: dict[DestinationKind, str] = field(default_factory=dict)
    answered_at: int | None = None
    notices: int = 0
    untold: int = 0
    expired: int = 0
    withdrawn: int = 0
    unreadable: int = 0
    attempts: Counter[tuple[DestinationKind, OutcomeKind]] = field(default_factory=Counter)
    delivered: Counter[DestinationKind] = field(default_factory=Counter)
    refused_runs: int = 0
    in_flight: int = 0
    parkings: int = 0
    bounces: Counter[ReportKind] = field(default_factory=Counter)
    stray_bounces: int = 0
    ledger: Ledger = field(default_factory=Ledger)


STALE_MS = 60_000
"""The ledger is not kept current where nothing was known of it for longer: something hangs."""


def not_ready_because(status: Status, now: int) -> str | None:
    """Why notices do not reach the ledger and their destinations, at a moment; None where they do.

    A process that waits for another one to end reads nothing and is ready. A channel that is away is no reason: the
    others work.
    """
    if status.stopped is not None:
        return status.stopped
    if status.failures:
        return "; ".join(f"{part}: {why}" for part, why in sorted(status.failures.items()))
    if status.state is State.FOLLOWING and status.current_at is not None and now - status.current_at > STALE_MS:
        return f"the topic has not been known to be read for {(now - status.current_at) // 1000} seconds"
    if status.state in (State.FOLLOWING, State.STANDBY):
        return None
    return "the topic is being read"
