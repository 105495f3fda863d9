"""Names of what is worth a line in the log, for whoever searches or counts lines.

A name is stable: the sentence of its line may change, the name and the fields do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EVENTS: Final[Mapping[str, str]] = {
    "worker_started": "A worker begins: version, group and instance.",
    "worker_draining": "It was told to end; what is in work is finished.",
    "worker_failed": "It stops because of an error that is no record's fault; nothing of the unit is committed.",
    "worker_not_started": "It could not begin.",
    "worker_ended": "The process ends, with its exit code.",
    "partitions_assigned": "The group has dealt out; these partitions are this worker's.",
    "partitions_released": "They are given up; what is not committed is the next owner's.",
    "partition_fenced": "Whoever had the partition before can write no more.",
    "partition_restored": "Its state is complete, and reading begins.",
    "restore_progress": "A long restore goes on.",
    "changelog_cut": "Rows of the state are gone; it is restored from what is left.",
    "store_outdated": "RocksDB was away for so long that the broker may have forgotten deletions; it is restored anew.",
    "state_rebuilt": "The state is older than the group's offset, and is built again from the input.",
    "gap_accepted": "Records that were never read are gone, and the settings say to go on.",
    "dead_letter": "A record could not be processed; it is kept whole with the reason.",
    "output_left_out": "What a timer tells is more than Kafka takes, or cannot be encoded; the rest of it is written.",
    "timer_failed": "A timer could not fire; its server is looked at again with its next connection.",
    "policies_loaded": "This set of policies and catalogues is in force now or will be.",
    "policy_switched": "Another policy governs from now on.",
    "policy_refused": "A published policy cannot stand; those in force stay.",
    "catalogue_switched": "Another catalogue is in force from now on.",
    "catalogue_refused": "A published catalogue cannot stand; those in force stay.",
    "client_not_closed": "A Kafka client did not close in time; nothing depends on it.",
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
