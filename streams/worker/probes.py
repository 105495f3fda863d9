"""What a worker's probes answer.

* `/livez`: the event loop and the watchdog move. What happens to the broker has no part in it: a restart would not
  bring it back.
* `/startupz`: the policies are read, and the group has told which partitions are this worker's.
* `/readyz`: every partition that is this worker's is restored and worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streams.engine.status import WorkerStatus
from streams.telemetry.probes import LIVE, READY, STARTED, Heartbeat, Probe


def probes_of(status: Callable[[], WorkerStatus], heartbeat: Heartbeat) -> dict[str, Probe]:
    """The probe of each path."""
    return {
        LIVE: lambda: livez(heartbeat),
        STARTED: lambda: startupz(status()),
        READY: lambda: readyz(status()),
    }


def livez(heartbeat: Heartbeat) -> tuple[bool, Mapping[str, Any]]:
    """Whether the process should be left running."""
    is_alive, age = heartbeat.is_alive, heartbeat.age_seconds
    return is_alive, {"alive": is_alive, "watchdog_seconds_ago": None if age is None else round(age, 1)}


def startupz(status: WorkerStatus) -> tuple[bool, Mapping[str, Any]]:
    """Whether the start is over; a restore is part of the work."""
    has_joined = status.has_joined
    return has_joined, {"started": has_joined, "why": None if has_joined else "has not joined the group"}


def readyz(status: WorkerStatus) -> tuple[bool, Mapping[str, Any]]:
    """Whether it works, and on what."""
    why = status.not_ready_because
    return why is None, {
        "ready": why is None,
        "why": why,
        "partitions": {
            str(item.partition): {
                "phase": item.phase.value,
                "restored_rows": item.rows_restored,
                "rows_left": item.rows_to_restore,
            }
            for item in status.partitions
        },
    }
