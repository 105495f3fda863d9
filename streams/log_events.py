"""Names of what is worth a line in the log, for whoever searches or counts lines.

A name is stable: the sentence of its line may change, the name and the fields do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EVENTS: Final[Mapping[str, str]] = {
    "worker_started": "A worker starts: version, group and instance.",
    "worker_ready": "Every partition that the worker has been assigned is restored and processed; says which.",
    "worker_draining": "Shutdown requested; the work in progress is finished.",
    "worker_failed": "The worker stops because of an error that no record caused; nothing of the unit is committed.",
    "worker_not_started": "Startup failed.",
    "worker_ended": "The process exits, with its exit code.",
    "partitions_assigned": "Partitions assigned by the group.",
    "partitions_released": "Partitions released; uncommitted work is left to the next owner.",
    "partition_fenced": "The previous owner of the partition is fenced and can no longer write.",
    "transaction_ended": "The last transaction of an owner before had no end in some partitions; it was written there.",
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
    "connectors_loaded": "These connectors are in force.",
    "connectors_refused": "Connectors were rejected; those in force stay.",
    "edge_started": "A process of the edge starts: which one, and its version.",
    "edge_not_started": "A process of the edge could not start.",
    "edge_failed": "A process of the edge stops because of an error.",
    "edge_ended": "A process of the edge exits, with its exit code.",
    "edge_restarted": "A process of the edge died and is started again.",
    "door_listening": "The door answers at this address.",
    "door_failed": "The door was at fault, and mail was accepted; a place that fails again is told of every 10 s.",
    "door_trust": "How far the door acts on the verdicts that it has changed.",
    "event_lost": "Events could not be stored and are lost.",
    "client_not_closed": "A Kafka client did not close cleanly in time; this has no effect.",
    "file_set_aside": "A file of the edge was damaged or of another format; it was renamed, and a new one begun.",
    "verdicts_failed": "The edge could not read its verdicts; mail is accepted until it can.",
    "verdicts_reading": "The edge begins to read all verdicts, with the reason.",
    "verdicts_read": "The edge has read all verdicts, and acts on them from here on.",
    "verdict_unreadable": "The newest verdict about a server cannot be read; its mail is accepted.",
    "event_rejected": "Kafka refuses an event for what it is; it was set aside in the spool.",
    "events_passed_over": "Events were stored by a newer version of the edge; they wait until sync is of that version.",
    "sync_failed": "A part of sync failed and is started again; mail goes on.",
    "sync_recovered": "A part of sync works again.",
    "table_failed": "Sync could not write its table; what the door knows grows old until it can.",
    "notify_started": "The process that tells people starts: its version and kind of database.",
    "notify_not_started": "The process that tells people could not start.",
    "notify_failed": "The process that tells people stops because of an error.",
    "notify_ended": "The process that tells people exits, with its exit code.",
    "notify_standby": "Another process reads notifications into the ledger; this one waits until it is gone.",
    "notify_current": "All notifications that were written are in the ledger.",
    "notify_moved": "The ledger is not where this process left it; it reads on from where the ledger is.",
    "notify_stopped": "No notifications are read until somebody does what the line says.",
    "notify_part_failed": "Kafka, the schema registry or the ledger does not work; notices wait, and none is lost.",
    "notify_part_recovered": "Kafka, the schema registry or the ledger works again.",
    "notify_record_unreadable": "A record is no notification, or the ledger refuses it; it is passed over and named.",
    "notify_channel_away": "Nobody can be reached by a channel, as where the mail relay is away; its messages wait.",
    "notify_channel_back": "A channel that was away works again.",
    "notify_channel_failed": "A channel failed by a fault of the product or its settings; the message is tried again.",
    "notify_bounced": "A mail came back, refused for good; its destination is sent nothing more.",
    "notify_bounce_failed": "A mail that came back could not be taken, by a fault of the product; the relay keeps it.",
    "notify_channel_missing": "Nothing is set up for a kind of destination; its messages wait.",
    "notify_destination_parked": "A destination failed for days, or says that it is gone; it is sent nothing more.",
    "notify_message_given_up": "A message was refused, or a fault of ours kept it back, for too long; it is given up.",
    "notify_result_unwritten": "The ledger does not take what became of a message; it is sent again under its id.",
    "report_policies_unread": "The report cannot read the announced policies; it tries again.",
    "report_notices_changed": "Somebody changed a destination or a subscription; says who, what and whose.",
    "report_released_all": "An operator released every server of every tenant; says who, why and by which policy.",
    "report_request_failed": "A request to the report failed by a fault of the report.",
    "report_request_without_database": "A request to the report was refused: the database does not answer.",
    "report_request_value_refused": "The report's database refused a value of a request; the caller was told 400.",
    "report_started": "The report's process starts: its version and kind of database.",
    "report_not_started": "The report's process could not start.",
    "report_failed": "The report's process stops because of an error.",
    "report_ended": "The report's process exits, with its exit code.",
    "report_serving": "The report serves API and page; says where.",
    "report_standby": "Another process writes the report's tables; this one waits until it is gone.",
    "report_current": "The report's tables show all that the topics hold.",
    "report_deletions_mended": "The report's tables have no rows any more of what the topics do not hold.",
    "report_deletions_missed": "The report was away so long that it may have missed deletions, and looks for them.",
    "report_moved": "The report's tables are not where this process left them; it reads on from where they are.",
    "report_stopped": "The report reads no further until somebody does what the line says.",
    "report_part_failed": "Kafka or the report's database does not work; the report waits, and loses nothing.",
    "report_part_recovered": "Kafka or the report's database works again.",
    "report_record_unreadable": "A record is none of its topic; the report passes over it and keeps its place.",
    "report_unfenced": "The database shows the report's role rows of all tenants; only its queries keep them apart.",
    "report_api_off": "The report serves neither API nor page, with the reason.",
    "report_call_refused": "A bad token was refused by the report; at most 5 a minute are told of an address.",
    "report_sign_in_refused": "A sign-in to the report failed, with the reason.",
    "report_provider_failed": "The sign-in provider does not answer, or not as it must.",
    "report_local_sign_in": "Anybody on this machine may sign in to the report as anybody: only for a demo.",
    "report_sessions_own_key": "Sessions of the report are sealed by a key that ends with this process.",
    "report_sessions_full": "More sessions of the report ended by sign-out than are kept in mind.",
    "notify_template_failed": "A template of a mail failed; the mail is sent without its layout, in English.",
    "spool_failed": "The edge could not store an event; it goes on, and lost events are counted.",
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
