"""Names of what is worth a line in the log, for whoever searches or counts lines.

A name is stable: the sentence of its line may change, the name and the fields do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EVENTS: Final[Mapping[str, str]] = {
    "worker_started": "A worker starts: version, group and instance.",
    "worker_draining": "Shutdown requested; the work in progress is finished.",
    "worker_failed": "The worker stops because of an error that no record caused; nothing of the unit is committed.",
    "worker_not_started": "Startup failed.",
    "worker_ended": "The process exits, with its exit code.",
    "partitions_assigned": "Partitions assigned by the group.",
    "partitions_released": "Partitions released; uncommitted work is left to the next owner.",
    "partition_fenced": "The previous owner of the partition is fenced and can no longer write.",
    "partition_restored": "The partition's state is complete; consumption resumes.",
    "restore_progress": "Progress of a long restore.",
    "changelog_cut": "The changelog was truncated; the state is restored from the remaining rows.",
    "store_outdated": "The local state is too old to catch up from; it is restored from the changelog.",
    "state_rebuilt": "The state is older than the group's offset and is rebuilt from the input.",
    "gap_accepted": "Unread records were deleted, and the settings allow the worker to continue.",
    "dead_letter": "A record could not be processed; it is dead-lettered with the reason.",
    "output_left_out": "An output of a timer is too large or cannot be encoded; only its other outputs are written.",
    "timer_failed": "A timer failed; its server is evaluated again at its next connection.",
    "policies_loaded": "These policies and catalogues are in force or scheduled.",
    "policy_switched": "Another policy is now in force.",
    "policy_refused": "A published policy was rejected; those in force stay.",
    "catalogue_switched": "Another catalogue is now in force.",
    "catalogue_refused": "A published catalogue was rejected; those in force stay.",
    "client_not_closed": "A Kafka client did not close cleanly in time; this has no effect.",
}
"""Every name with what it means."""
OTHER: Final = "log"
"""Stands for a name where a line has none, as those of libraries."""


def log_event(name: str, **fields: Any) -> dict[str, Any]:
    """What a line's `extra` should be: its event and its fields, which say nothing secret.

    Raises:
        KeyError: the name is not listed.
    """
    EVENTS[name]
    return {"event": name, "fields": fields}
