"""What the probes of the edge's processes answer.

* `/livez`: the event loop moves.
* `/startupz`: the door listens; sync has begun.
* `/readyz`: the door acts on what it knows; sync has confirmed it lately. The door answers mail whatever it says here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from streams.domain.edge import Trust
from streams.edge.door_metrics import DoorStatus
from streams.telemetry.probes import LIVE, READY, STARTED, Heartbeat, Probe

SYNC_ALIVE_SECONDS: Final = 30.0
"""Sync writes about once a second."""
LOOP_SECONDS: Final = 15.0
"""A loop that moves beats about once a second."""
TRUSTED: Final = (Trust.CURRENT, Trust.AGED)


def probes_of(is_started: Callable[[], bool], ready: Probe, heartbeat: Heartbeat) -> dict[str, Probe]:
    """The probe of each path."""

    def started() -> tuple[bool, Mapping[str, Any]]:
        return is_started(), {"started": is_started()}

    return {LIVE: lambda: livez(heartbeat), STARTED: started, READY: ready}


def livez(heartbeat: Heartbeat) -> tuple[bool, Mapping[str, Any]]:
    """Whether the process should be left running."""
    age = heartbeat.age_seconds
    return heartbeat.is_alive, {"alive": heartbeat.is_alive, "loop_seconds_ago": _rounded(age)}


def door_readyz(status: DoorStatus) -> tuple[bool, Mapping[str, Any]]:
    """Whether the door acts on what it knows, and what it knows."""
    why = status.not_ready_because
    return why is None, {
        "ready": why is None,
        "why": why,
        "trust": status.trust.value.lower(),
        "confirmed_seconds_ago": _rounded(status.knowledge_age),
        "clock_skew_seconds": status.clock_skew,
        "sync": {"alive": is_sync_alive(status), "seconds_ago": _rounded(status.sync_age)},
        "spool": {"events": status.spool_events, "bytes": status.spool_bytes},
        "connectors": {**status.connectors, "errors": list(status.connector_errors)},
    }


def is_sync_alive(status: DoorStatus) -> bool:
    """Whether sync wrote lately."""
    return status.sync_age is not None and status.sync_age < SYNC_ALIVE_SECONDS


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
